"""Labels of CatLIP's head, WordNet's nouns, and the cut of the head to classes by name."""

import json
import pickle
from collections import Counter, deque
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wordnets import ANIMALS, Meaning, written

from edge.errors import Damaged, EdgeError
from edge.vision.classes import alike, cut
from edge.vision.labels import Vocabulary
from edge.vision.wordnet import WordNet

LABELS = ("animal", "dog", "bird", "pet", "terrier", "lifter")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wordnet")


@pytest.fixture(scope="module")
def offsets(folder: Path) -> dict[str, int]:
    return written(folder, ANIMALS)


@pytest.fixture(scope="module")
def wordnet(folder: Path, offsets: dict[str, int]) -> WordNet:
    return WordNet.load(folder)


@pytest.fixture(scope="module")
def vocabulary(offsets: dict[str, int]) -> Vocabulary:
    counts = {f"n{offsets[name]}": 1000 - row for row, name in enumerate(LABELS)}
    return Vocabulary.of(counts, size=len(LABELS))


def _steps(hypernyms: dict[int, tuple[int, ...]], start: int) -> dict[int, int]:
    """Breadth first: the obvious way."""
    steps, waiting = {start: 0}, deque([start])
    while waiting:
        node = waiting.popleft()
        for above in hypernyms[node]:
            if above not in steps:
                steps[above] = steps[node] + 1
                waiting.append(above)
    return steps


def _similarity(hypernyms: dict[int, tuple[int, ...]], one: int, other: int) -> float:
    up, down = _steps(hypernyms, one), _steps(hypernyms, other)
    ways = [up[node] + down[node] for node in up if node in down]
    return 1 / (1 + min(ways)) if ways else 0.0


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Meaning]:
    """Synsets that are kinds of some of those before them."""
    count = draw(st.integers(2, 12))
    return {
        f"w{i}": Meaning(
            [f"w{i}", "shared"],
            draw(st.lists(st.sampled_from([f"w{j}" for j in range(i)]), max_size=3, unique=True))
            if i
            else [],
        )
        for i in range(count)
    }


@given(graphs=graphs())
@settings(max_examples=40, deadline=None)
def test_similarity_is_that_of_the_obvious_way(
    tmp_path_factory: pytest.TempPathFactory, graphs: dict[str, Meaning]
) -> None:
    place = tmp_path_factory.mktemp("graph")
    at = written(place, graphs)
    read = WordNet.load(place)
    hypernyms = {at[name]: tuple(at[x] for x in m.hypernyms) for name, m in graphs.items()}
    for one in at.values():
        for other in at.values():
            got = read.similarity(one, other)
            assert got == _similarity(hypernyms, one, other) == read.similarity(other, one)
            assert (got == 1) == (one == other)


@given(graphs=graphs(), data=st.data())
@settings(max_examples=40, deadline=None)
def test_cut_takes_a_nearest_label(
    tmp_path_factory: pytest.TempPathFactory, graphs: dict[str, Meaning], data: st.DataObject
) -> None:
    place = tmp_path_factory.mktemp("graph")
    at = written(place, graphs)
    read = WordNet.load(place)
    names = data.draw(st.lists(st.sampled_from(list(graphs)), min_size=1, unique=True))
    vocabulary = Vocabulary.of([f"n{at[name]}" for name in names], size=len(names))
    for name in graphs:
        all_pairs = [read.similarity(at[name], at[label]) for label in names]
        if not max(all_pairs):
            with pytest.raises(EdgeError, match="no label is related"):
                cut([name], vocabulary, read)
            continue
        (got,) = cut([name], vocabulary, read)
        assert got.similarity == max(all_pairs)
        assert all_pairs[got.rows[0]] == max(all_pairs)


def test_senses_are_in_the_order_of_the_index(wordnet: WordNet, offsets: dict[str, int]) -> None:
    assert wordnet.senses("Crane") == (offsets["lifter"], offsets["crane"])
    assert wordnet.find("crane.n.02") == (offsets["crane"],)
    assert wordnet.find("crane.n.00") == wordnet.find("crane.n.03") == ()
    assert wordnet.find(f"n{offsets['dog']}") == wordnet.find("dog.n.01") == (offsets["dog"],)
    assert wordnet.name(offsets["dog"]) == "dog.n.01"
    assert wordnet.find("n99999999") == wordnet.find(f"n{offsets['dog'] + 1}") == ()


@pytest.mark.parametrize(
    ("text", "row", "similarity"),
    [
        ("dog", 1, 1.0),
        ("golden retriever", 1, 1 / 3),
        ("Fido", 1, 1 / 2),
        ("wolf", 0, 1 / 3),  # as far as pet is not; animal and dog are as near, animal is above it
        ("crane", 5, 1.0),
        ("crane.n.02", 2, 1 / 2),
        ("tench, Tinca tinca", 0, 1 / 2),
        ("domestic dog, Canis familiaris", 1, 1.0),
        ("entity", 0, 1 / 2),
    ],
)
def test_cut(
    vocabulary: Vocabulary, wordnet: WordNet, text: str, row: int, similarity: float
) -> None:
    (got,) = cut([text], vocabulary, wordnet)
    assert (got.rows, got.similarity) == ((row,), similarity)
    assert got.synsets == (vocabulary.named(wordnet).labels[row].name,)


def test_words_of_different_meanings_are_the_mean(vocabulary: Vocabulary, wordnet: WordNet) -> None:
    (got,) = cut(["terrier, bird"], vocabulary, wordnet)
    assert (got.rows, got.similarity) == ((4, 2), 1.0)
    (got,) = cut(["terrier, retriever"], vocabulary, wordnet)
    assert (got.rows, got.similarity, got.synsets) == ((4, 1), 1 / 2, ("terrier", "dog"))


def test_cut_of_the_labels_own_names_is_the_identity(
    vocabulary: Vocabulary, wordnet: WordNet
) -> None:
    named = vocabulary.named(wordnet)
    names = [label.name for label in named.labels]
    assert names == ["animal", "dog", "bird", "pet", "terrier", "crane"]
    for held in (wordnet, None):
        cuts = cut(names, named, held)
        assert [(one.rows, one.similarity) for one in cuts] == [((i,), 1) for i in range(6)]


def test_classes_that_got_one_row_are_told(vocabulary: Vocabulary, wordnet: WordNet) -> None:
    cuts = cut(["golden retriever", "bird", "retriever"], vocabulary, wordnet)
    assert alike(cuts) == (("golden retriever", "retriever"),)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["dogg"], r"'dogg' \(near: dog"),
        (["miniature golden retriever"], "near: golden retriever, retriever"),
        (["dog, dogg"], r"\(near: dog"),
        (["dog", "dog"], "'dog' and 'dog' mean the same"),
        (["dog", "domestic dog"], "mean the same"),
        (["dog", " Dog "], "mean the same"),
        ([""], "not among"),
        ([], "no classes"),
        (["x1", "x2", "x3", "x4", "x5", "x6", "x7"], "'x5'.*and 2 more"),
    ],
)
def test_a_list_is_refused_by_name(
    vocabulary: Vocabulary, wordnet: WordNet, classes: list[str], message: str
) -> None:
    with pytest.raises(EdgeError, match=message):
        cut(classes, vocabulary, wordnet)


def test_without_wordnet_names_and_keys_are_found() -> None:
    vocabulary = Vocabulary.of(["n2084071\tdog", "n01503061", "polar bear"], size=3)
    cuts = cut(["Polar_Bear", "n1503061", "dog"], vocabulary)
    assert [one.rows for one in cuts] == [(2,), (1,), (0,)]
    assert cut(["dog, polar bear"], vocabulary)[0].rows == (0, 2)
    with pytest.raises(EdgeError, match=r"polar bear.*\n.*WordNet 3.0"):
        cut(["polar bears"], vocabulary)


def test_a_vocabulary_is_read_from_a_list_or_an_object(tmp_path: Path) -> None:
    want = Vocabulary.of({"n5928118": 9, "n13333833": 11, "n4960277": 1}, size=2)
    assert [label.name for label in want.labels] == ["n05928118", "n13333833"]
    text, table, listed = (tmp_path / name for name in ("v.txt", "v.json", "l.json"))
    text.write_text("n5928118\n\nn13333833\nn4960277\n")
    table.write_text(json.dumps({"n5928118": 9, "n13333833": 11, "n4960277": 1}))
    listed.write_text(json.dumps({"labels": ["n5928118", "n13333833", "n4960277"]}))
    assert all(Vocabulary.read(file, size=2) == want for file in (text, table, listed))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["dog"], "head of 2 rows has a vocabulary of 1"),
        (["dog", "Dog"], "'dog' twice"),
        (["n1\ta", "n00000001\tb"], "n00000001.* twice"),
        (["dog", 3], "row 1 is no short text"),
        (["dog", "a" * 201], "row 1 is no short text"),
        (["dog", " "], "row 1 is no short text"),
    ],
)
def test_a_vocabulary_is_refused(labels: list[str], message: str) -> None:
    with pytest.raises(EdgeError, match=message):
        Vocabulary.of(labels, size=2)


def test_another_version_of_wordnet_is_refused(wordnet: WordNet) -> None:
    with pytest.raises(EdgeError, match=r"1 of 2 labels are no synsets.*n02084071\n.*3.0"):
        cut(["dog"], Vocabulary.of(["n02084071", "bird"], size=2), wordnet)


def _hostile(data: bytes, offsets: dict[str, int]) -> dict[str, bytes]:
    """What an enemy, or a bad disk, makes of data.noun."""
    dog, canine, animal = (b"%08d" % offsets[name] for name in ("dog", "canine", "animal"))
    line = data.split(b"\n" + dog)[1].split(b"\n")[0]
    return {
        "go in a circle": data.replace(b"@ " + animal, b"@ " + dog),
        "no synset starts at offset 99999999": data.replace(b"@ " + canine, b"@ 99999999"),
        "is malformed": data.replace(b" 002 @", b" 900 @"),
        "does not end": data.replace(line, line + b"x" * (1 << 17)),
        "no synset starts at offset": data[: offsets["canine"] + 3],
    }


@pytest.mark.parametrize(
    "message",
    list(_hostile(b"", {}))
    if False
    else [
        "go in a circle",
        "no synset starts at offset 99999999",
        "is malformed",
        "does not end",
        "no synset starts at offset",
    ],
)
def test_a_hostile_data_file_is_one_clear_error(
    tmp_path: Path, vocabulary: Vocabulary, message: str
) -> None:
    offsets = written(tmp_path, ANIMALS)
    file = tmp_path / "data.noun"
    file.write_bytes(_hostile(file.read_bytes(), offsets)[message])
    read = WordNet.load(tmp_path)
    with pytest.raises(Damaged, match=message):
        read.above(offsets["dog"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"dog n 3 1 @ 3 0 00000001  \n", "counts 3 senses, not 1"),
        (b"dog n 1 -9 @ 1 0 00000001  \n", "counts|malformed"),
        (b"dog n x 1 @ 1 0 00000001  \n", "malformed"),
        (b"dog n 1\n", "malformed"),
        (b"dog n 1 1 @ 1 0 " + b"9" * (1 << 17), "longer than"),
    ],
)
def test_a_hostile_index_is_one_clear_error(tmp_path: Path, line: bytes, message: str) -> None:
    written(tmp_path, ANIMALS)
    (tmp_path / "index.noun").write_bytes(line)
    with pytest.raises(Damaged, match=message):
        WordNet.load(tmp_path).senses("dog")


def test_a_folder_without_wordnet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"index\.noun cannot be read"):
        WordNet.load(tmp_path)


def test_the_published_pickle_is_read_as_data(tmp_path: Path) -> None:
    """A Counter, the most frequent first, as `collections.Counter` is pickled."""
    file = tmp_path / "vocab.pkl"
    counts = Counter({"n5928118": 9, "n2084071": 7, "a word": 3, "n1740": 1})
    file.write_bytes(pickle.dumps(counts))
    found = Vocabulary.read(file, size=3)
    assert [label.name for label in found.labels] == ["n05928118", "n02084071", "a word"]
    file.write_bytes(pickle.dumps(7))
    with pytest.raises(Damaged, match="no mapping of labels"):
        Vocabulary.read(file, size=3)
    file.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(EdgeError, match="system"):
        Vocabulary.read(file, size=3)
