"""Names of options that do not exist."""

from bnb_fairseq.problems import unknown_option


def test_close_names() -> None:
    assert unknown_option("ctc_beem", ["nbest", "ctc_beam"]) == "there is no option ctc_beem; did you mean ctc_beam?"
    assert unknown_option("n-best", ["nbest", "ctc_beam"]) == "there is no option n-best; did you mean nbest?"


def test_a_name_that_is_like_no_other() -> None:
    assert unknown_option("zzz", ["b", "a"]) == "there is no option zzz; there are a, b"
    assert unknown_option("zzz", [f"name{i}" for i in range(99)]).endswith(", ...")
