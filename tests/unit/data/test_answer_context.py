"""Answers and contexts: lines and what is wrong with them, ids by every kind of dictionary, room where they are cut."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from fairseq.data import data_utils, indexed_dataset
from torch import Tensor

from bnb_fairseq.data.answer_context import check_segments, check_typed_lines, find_source_fault, find_target_fault
from bnb_fairseq.data.dictionary import BnbDictionary, load_dictionary
from bnb_fairseq.data.pair_dataset import SentencePairDataset
from bnb_fairseq.data.preflight import check_preprocessing_command, check_question_command

from ...facts import names

SEP = 9
WANTED = "must be an answer, one tab and the context, but"
LINE = "the file\topen the file in a new window"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("Ada\tAda wrote it.", None),
        (" Ada \t Ada wrote it. \n", None),
        ("Ada wrote it.", "has no tab"),
        ("", "has no tab"),
        ("Ada\tAda\twrote it.", "has 2 tabs"),
        ("\t\t", "has 2 tabs"),
        (" \tAda wrote it.", "has no answer"),
        ("Ada\t\n", "has no context"),
        ("\t\u00a0", "has no answer and no context"),
    ],
)
def test_source_lines(line: str, fault: str | None) -> None:
    assert find_source_fault(line) == (fault and f"{WANTED} {fault}")


def test_target_lines() -> None:
    assert find_target_fault("Who wrote it?\n") is find_target_fault("") is None
    assert find_target_fault("Who\twrote it?") == "must be a question without a tab, but has one"


def test_typed_lines() -> None:
    check_typed_lines(["a\tb", "c\td"], "--input")
    with pytest.raises(ValueError, match=names("--input", "2", "no tab in it")):
        check_typed_lines(["a\tb", "no tab in it", "\t"], "--input")
    with pytest.raises(ValueError, match=names(f"{60 * 'x'}...")):
        check_typed_lines([61 * "x"], "--input")


@pytest.fixture(params=["wordpiece", "sentencepiece", "plain"])
def dictionary(request: pytest.FixtureRequest, uncased: Path, tmp_path: Path) -> BnbDictionary:
    """A dictionary of each kind."""
    if request.param == "wordpiece":
        return load_dictionary(str(uncased))
    if request.param == "sentencepiece":
        return load_dictionary(str(request.getfixturevalue("pieces")))
    (tmp_path / "dict.txt").write_text("the 9\nfile 5\nopen 2\nin 1\na 1\n")
    return load_dictionary(str(tmp_path / "dict.txt"))


def test_each_segment_ends(dictionary: BnbDictionary) -> None:
    """And is split as it would be alone."""
    answer, context = (dictionary.encode_line(part, add_if_not_exist=False).tolist() for part in LINE.split("\t"))
    assert answer[-1] == context[-1] == dictionary.eos()
    assert dictionary.eos() not in [*answer[:-1], *context[:-1]]
    dictionary.reads_segments = True
    both = dictionary.encode_line(f" {LINE}\n", add_if_not_exist=False)
    assert both.tolist() == answer + context
    assert both.dtype == torch.int32
    open_end = dictionary.encode_line(LINE, add_if_not_exist=False, append_eos=False)
    assert open_end.tolist() == answer + context[:-1]
    reverse = dictionary.encode_line(LINE, add_if_not_exist=False, reverse_order=True)
    assert reverse.tolist() == [*answer[-2::-1], answer[-1], *context[-2::-1], context[-1]]


def test_unknown_words_are_counted(dictionary: BnbDictionary) -> None:
    dictionary.reads_segments = True
    seen: list[int] = []
    ids = dictionary.encode_line(LINE, add_if_not_exist=False, consumer=lambda _, i: seen.append(i)).tolist()
    assert seen == [i for i in ids if i != dictionary.eos()]


def test_white_space_where_no_segments_are_read(dictionary: BnbDictionary) -> None:
    """As in every other task."""
    spaced = dictionary.encode_line(LINE.replace("\t", " "), add_if_not_exist=False)
    assert dictionary.encode_line(LINE, add_if_not_exist=False).tolist() == spaced.tolist()
    assert int((spaced == dictionary.eos()).sum()) == 1


def test_other_processes_read_segments_and_folders_do_not_remember(dictionary: BnbDictionary, tmp_path: Path) -> None:
    dictionary.reads_segments = True
    copied = pickle.loads(pickle.dumps(dictionary))
    expected = dictionary.encode_line(LINE, add_if_not_exist=False).tolist()
    assert copied.encode_line(LINE, add_if_not_exist=False).tolist() == expected
    dictionary.save(str(tmp_path / "dict.answer.txt"))
    saved = load_dictionary(str(tmp_path / "dict.answer.txt"))
    assert not saved.reads_segments
    assert saved.digest()[:3] == dictionary.digest()[:3]


def test_symbols_in_the_text_are_text(uncased: Path) -> None:
    dictionary = load_dictionary(str(uncased))
    dictionary.reads_segments = True
    ids = dictionary.encode_line("the [SEP] file\topen [SEP] [CLS] it").tolist()
    assert ids.count(dictionary.eos()) == 2
    assert dictionary.bos() not in ids


def sources(*items: Sequence[int]) -> list[Tensor]:
    return [torch.tensor(item) for item in items]


# An answer of 2 tokens and a context of 4; with [CLS] 9 tokens. An answer of 3 and a context of 1: 7 tokens.
PAIRS = sources([1, 2, SEP, 3, 4, 5, 6, SEP], [1, 2, 3, SEP, 4, SEP])


@pytest.mark.parametrize("longest", [None, 100, 9, 8, 7])
def test_room(longest: int | None) -> None:
    check_segments("train", PAIRS, SEP, longest)
    check_segments("train", [], SEP, longest)


def test_no_room_for_a_token_of_the_context() -> None:
    """At 6 the first may have [CLS] 1 2 [SEP] 3 [SEP], the second not [CLS] 1 2 3 [SEP] 4 [SEP]."""
    check_segments("train", PAIRS[:1], SEP, 6)
    facts = (
        "train",
        "1",
        "2",
        "--truncate-source",
        "1",
        "3",
        "--max-source-positions",
        "6",
        "2",
        "[CLS]",
        "[SEP]",
        "[SEP]",
    )
    with pytest.raises(ValueError, match=names(*facts)):
        check_segments("train", PAIRS, SEP, 6)
    with pytest.raises(ValueError, match=names("train", "2", "2", "0", "2", "5")):
        check_segments("train", PAIRS, SEP, 5)
    with pytest.raises(ValueError, match=names("2", "0")):
        check_segments("train", PAIRS, SEP, 2)


def test_only_the_context_is_cut(make_dictionary: Callable[[int], BnbDictionary]) -> None:
    """<s> 0, </s> 2: the answer and both ends stay."""
    dictionary = make_dictionary(8)
    dataset = SentencePairDataset(sources([4, 5, 2, 6, 7, 8, 9, 2]), dictionary, None, dictionary, longest_source=7)
    assert dataset[0]["source"].tolist() == [0, 4, 5, 2, 6, 7, 2]


def test_sources_of_one_segment() -> None:
    with pytest.raises(ValueError, match=names("valid", "--task", "question_generation_bnb")):
        check_segments("valid", sources([1, 2, SEP]), SEP, None)


@pytest.mark.parametrize("impl", ["mmap", "lazy", "cached"])
def test_every_format_of_fairseq(impl: str, tmp_path: Path) -> None:
    builder = indexed_dataset.make_builder(f"{tmp_path}/x.bin", "mmap" if impl == "mmap" else "lazy", vocab_size=10)
    for pair in PAIRS:
        builder.add_item(pair)
    builder.finalize(f"{tmp_path}/x.idx")
    check_segments("x", data_utils.load_indexed_dataset(f"{tmp_path}/x", None, impl), SEP, 7)
    with pytest.raises(ValueError, match=names("x", "1", "2", "1", "3")):
        check_segments("x", data_utils.load_indexed_dataset(f"{tmp_path}/x", None, impl), SEP, 6)


@pytest.mark.parametrize(
    ("source", "target", "facts"),
    [
        ("a\tb\nc d\n", "q\nq\n", ["x.answer", "2", "no tab"]),
        ("a\tb\nc\td\te\n", "q\nq\n", ["x.answer", "2", "2 tabs"]),
        ("\tb\nc\td\n", "q\nq\n", ["x.answer", "1", "no answer"]),
        ("a\tb\nc\t \n", "q\nq\n", ["x.answer", "2", "no context"]),
        ("a\tb\n\n", "q\nq\n", ["x.answer", "2", "no tab"]),
        ("a\tb\nc\td\n", "q\nq\tq\n", ["x.question", "2", "tab"]),
    ],
)
@pytest.mark.parametrize("option", ["--trainpref", "--testpref"])
def test_lines_that_preprocessing_refuses(
    source: str, target: str, facts: list[str], option: str, tmp_path: Path
) -> None:
    for name, text in (("good", ("a\tb\n", "q\n")), ("x", (source, target))):
        (tmp_path / f"{name}.answer").write_text(text[0])
        (tmp_path / f"{name}.question").write_text(text[1])
    begin = ["fairseq-preprocess", "-s", "answer", "-t", "question", "--task", "question_generation_bnb"]
    check_question_command([*begin, option, f"{tmp_path}/good"])
    bad = [*begin, "--validpref", f"{tmp_path}/good", option, f"{tmp_path}/x"]
    with pytest.raises(ValueError, match=names(option, f"{tmp_path}/{facts[0]}", *facts[1:])):
        check_question_command(bad)
    check_preprocessing_command(bad)  # of another task
    check_question_command(["fairseq-train", *bad[1:]])
    if "x.question" in facts:
        check_question_command([*bad, "--only-source"])


def test_the_other_checks_are_made_first(tmp_path: Path) -> None:
    begin = ["fairseq-preprocess", "-s", "answer", "-t", "question", "--trainpref", f"{tmp_path}/x"]
    with pytest.raises(ValueError, match=names("--trainpref", "x.answer")):
        check_question_command(begin)
    (tmp_path / "x.answer").write_bytes(b"\xff\n")
    (tmp_path / "x.question").write_text("q\n")
    with pytest.raises(ValueError, match=names("x.answer", "1", "UTF-8")):
        check_question_command(begin)
