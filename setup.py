"""For tools that know no pyproject.toml, which holds everything."""

from setuptools import setup

setup()
