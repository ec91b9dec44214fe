"""``README.md`` of a model folder: a model card in the form of the HuggingFace hub."""

import json
import re
from pathlib import Path

from .manifest import AUTOREGRESSIVE, CARD, DECODERS, GRAPHS, WEIGHTS, Manifest

SCORES = "## Scores"
NO_SCORES = "None yet."
PARALLEL = "non-autoregressive"
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]+)*")  # as the hub writes them; "text" and "summary" do not match


def write_card(
    folder: Path, manifest: Manifest, licence: str | None, description: str | None, confidence: str | None = None
) -> None:
    """Write the card of a folder that is otherwise complete.

    Args:
        folder: the model folder.
        manifest: content of ``config.json``.
        licence: of the model, by the hub's identifier; None: unknown.
        description: of the model and its training data; None: missing.
        confidence: quality of its calibration; None: not calibrated.
    """
    languages = [language for language in (manifest.source_lang, manifest.target_lang) if language]
    name = manifest.name or folder.name
    models = [folder / file for file in (WEIGHTS, *GRAPHS, *DECODERS.values()) if (folder / file).is_file()]
    sizes_of_models = ", ".join(f"`{path.name}` {path.stat().st_size / 1e6:.1f} MB" for path in models)
    extra = "" if (folder / WEIGHTS).is_file() else "[onnx]"
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    translates = len(languages) == 2 and all(map(LANGUAGE.fullmatch, languages))
    front: dict[str, str | list[str]] = {"language": languages} if translates else {}
    front |= {"license": licence} if licence else {}
    front |= {"library_name": "bnb_fairseq"}
    front |= {"pipeline_tag": "translation" if translates else "text2text-generation"}
    front |= {"tags": [manifest.architecture, *([] if manifest.architecture == AUTOREGRESSIVE else [PARALLEL])]}
    head = [f"{key}: {json.dumps(value)}" for key, value in front.items()]  # quoted, since YAML's no means false
    encoder, decoder = manifest.network["encoder"], manifest.network["decoder"]
    sizes = f"{encoder['layers']} encoder and {decoder['layers']} decoder layers of width {decoder['embed_dim']}"
    body = f"""
# {name}

{description or "No description was given."}

| | |
|---|---|
| architecture | `{manifest.architecture}`, {sizes} |
| task | `{manifest.task}`{f", {' to '.join(languages)}" if languages else ""} |
| licence | {licence or "not stated"} |
| size | {total:.1f} MB: {sizes_of_models} |
| confidence | {confidence or "not calibrated"} |

## Use

With `bnb_fairseq{extra}` installed:

```bash
bnb-translate {name} < input.txt > output.txt
```

```python
from bnb_fairseq import Translator

translator = Translator.load("{name}")
print(translator.translate(["..."])[0].text)
```

{SCORES}

{NO_SCORES}
"""
    (folder / CARD).write_text("\n".join(["---", *head, "---"]) + "\n" + body, encoding="utf-8")


def fill_scores(folder: Path, scores: str) -> None:
    """Replace the scores in the card by ``scores``, Markdown."""
    path = folder / CARD
    before, _, behind = path.read_text(encoding="utf-8").partition(f"{SCORES}\n")
    rest = behind.partition("\n## ")
    tail = f"\n## {rest[2]}" if rest[1] else ""
    path.write_text(f"{before.rstrip()}\n\n{SCORES}\n\n{scores.strip()}\n{tail}", encoding="utf-8")
