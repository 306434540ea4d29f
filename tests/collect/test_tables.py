"""Columns found or named; Hugging Face folders, as parquet shards and as saved to disk."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genus.collect import collect, tables
from genus.collect.limits import Bad
from genus.errors import UsageError


def hugging_face(names: list[str]) -> dict[str, str]:
    features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def pictures(png, start: int, n: int) -> pa.Table:
    cells = [{"bytes": png(i), "path": f"{i}.png"} for i in range(start, start + n)]
    table = pa.table(
        {"image": cells, "label": [i % 2 for i in range(start, start + n)], "text": [f"no. {i}" for i in range(n)]}
    )
    return table.replace_schema_metadata(hugging_face(["cat", "dog"]))


def stream(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


@pytest.mark.parametrize(
    ("columns", "named", "found"),
    [
        (["text", "label"], {}, {"text": "text", "label": "label"}),
        (["Content", "Licence"], {}, {"text": "Content", "licence": "Licence"}),
        (["id", "image", "text"], {}, {"image": "image", "caption": "text"}),
        (["image", "caption", "text"], {}, {"image": "image", "caption": "caption"}),
        (["words", "more"], {"text": "words"}, {"text": "words"}),
        (["a", "b"], {"text": "a+b"}, {"text": "a+b"}),
        (["question", "answer", "final"], {}, {"messages": "question+answer"}),
        (["question", "answer"], {"text": "question+answer"}, {"text": "question+answer"}),
        (["prompt", "messages", "text"], {}, {"messages": "messages", "caption": "prompt"}),
        (
            ["instruction", "input", "output", "chosen", "rejected"],
            {},
            {"messages": "instruction+input+chosen", "rejected": "rejected"},
        ),
        (["image", "messages"], {}, {"image": "image"}),
        (["source", "target"], {}, {"text": "source+target"}),
        (["anything"], {}, {"text": "anything"}),
        (["text", "summary"], {"text": "text", "caption": "summary"}, {"text": "text", "caption": "summary"}),
    ],
)
def test_roles_of_columns(columns, named, found):
    assert tables.roles(columns, named) == found


@pytest.mark.parametrize(("columns", "named"), [(["a", "b"], {}), (["a"], {"text": "b"})])
def test_columns_that_cannot_be_settled(columns, named):
    with pytest.raises(Bad) as caught:
        tables.roles(columns, named)
    assert caught.value.reason == "no content column"
    assert "a" in caught.value.detail
    assert named or "--column text=NAME" in caught.value.detail  # as the command line calls it


def test_a_role_that_there_is_not_is_told_before_anything_is_read(fill, tmp_path):
    with pytest.raises(UsageError, match="no column role 'colour'; there are: image"):
        collect(fill({"plain.txt": "no table anywhere"}), tmp_path / "d", columns={"colour": "x"})
    assert not (tmp_path / "d").exists()


def test_semicolons_between_cells(fill, rows):
    files = {
        "a.csv": 'text;size\n"one, two";1,5\nthree;2\n',
        "b.csv": 'text,size\n"four; five",1\n',
        "c.csv": '"a;b"\nsix\n',
    }
    got = rows(fill(files))
    assert {name: row["content"] for name, row in got.items()} == {
        "a.csv#0": b"one, two",
        "a.csv#1": b"three",
        "b.csv#0": b"four; five",
        "c.csv#0": b"six",
    }
    assert json.loads(got["a.csv#0"]["fields"]) == {"size": "1,5"}


def test_csv_jsonl_and_parquet_give_the_same_items(fill, rows):
    values = [
        {"text": "one, two", "label": "x", "page": "1"},
        {"text": 'say "three"\nand four', "label": "y", "page": "2"},
    ]
    lines = "".join(json.dumps(value) + "\n" for value in values)
    table = 'text,label,page\n"one, two",x,1\n"say ""three""\nand four",y,2\n'
    source = fill({"a.csv": table, "b.jsonl": lines, "d.tsv": table.replace("one, two", "one; two").replace(",", "\t")})
    pq.write_table(pa.Table.from_pylist(values), source / "c.parquet")
    got = rows(source)
    for name in ("a.csv", "b.jsonl", "c.parquet"):
        these = [got[f"{name}#{i}"] for i in range(2)]
        assert [row["content"].decode() for row in these] == [value["text"] for value in values]
        assert [row["label"] for row in these] == ["x", "y"]
        assert json.loads(these[1]["fields"]) == {"page": "2"}
    assert got["d.tsv#0"]["content"] == b"one; two"


def test_a_line_separator_inside_a_string_does_not_end_its_line(fill, rows):
    text = "a\u2028b\x85c"
    got = rows(fill({"a.jsonl": json.dumps({"text": text}, ensure_ascii=False) + "\n"}))
    assert got["a.jsonl#0"]["content"].decode() == text


def test_code_in_tables(fill, rows):
    program = "def f(x):\n    if x:\n        return x\n    y = x\n    return y\n"
    lines = [{"code": program}, {"text": program, "path": "a/b.py"}, {"text": "Some plain words, no more."}]
    got = rows(fill({f"{i}.jsonl": json.dumps(line) for i, line in enumerate(lines)}))
    assert [row["medium"] for row in got.values()] == ["code", "code", "text"]


def test_named_columns(fill, rows):
    source = fill({"a.csv": "title,words,kind\nT,hello,k\n"})
    got = rows(source, columns={"text": "words", "label": "kind"})
    assert (got["a.csv#0"]["content"], got["a.csv#0"]["label"], got["a.csv#0"]["caption"]) == (b"hello", "k", "T")


def test_parquet_shards_of_a_hugging_face_folder(fill, rows, png):
    card = "---\nlicense: cc-by-4.0\ndataset_info:\n  x: y\n---\n# Pictures\n"
    source = fill({"README.md": card})
    (source / "data").mkdir()
    pq.write_table(pictures(png, 0, 3), source / "data" / "train-00000-of-00002.parquet", row_group_size=2)
    pq.write_table(pictures(png, 3, 2), source / "data" / "train-00001-of-00002.parquet")
    pq.write_table(pictures(png, 5, 2), source / "data" / "validation-00000-of-00001.parquet")
    got = rows(source)
    assert len(got) == 7
    first = got["data/train-00000-of-00002.parquet#0"]
    assert (first["medium"], first["label"], first["caption"]) == ("image", "cat", "no. 0")
    assert (first["licence"], first["declared"]) == ("CC-BY-4.0", first["split"])
    assert first["content"] == png(0)
    assert got["data/validation-00000-of-00001.parquet#1"]["split"] == "val"


def test_a_dataset_saved_to_disk(fill, rows, png):
    source = fill({"dataset_dict.json": '{"splits": ["train", "test"]}'})
    for split, start in (("train", 0), ("test", 5)):
        fill({f"{split}/dataset_info.json": "{}", f"{split}/state.json": "{}"})
        stream(pictures(png, start, 5), source / split / "data-00000-of-00001.arrow")
    got = rows(source)
    assert len(got) == 10
    assert got["test/data-00000-of-00001.arrow#4"]["label"] == "dog"
    assert got["test/data-00000-of-00001.arrow#4"]["split"] == "test"
    cut = source / "train" / "data-00000-of-00001.arrow"
    cut.write_bytes(cut.read_bytes()[:-400])
    got = rows(source, "second")
    assert got["train/data-00000-of-00001.arrow"]["reason"] == "truncated"
    assert got["train/data-00000-of-00001.arrow#0"]["status"] == "kept"


def test_an_image_column_of_plain_bytes_and_its_bad_cells(fill, rows, png):
    source = fill({})
    pq.write_table(pa.table({"image": [png(1), None, b"", b"no image", png(2)[:90]]}), source / "a.parquet")
    got = rows(source)
    found = [got[f"a.parquet#{i}"]["reason"] for i in range(5)]
    assert found == [None, "empty", "empty", "unknown type", "truncated"]


class TestConversations:
    """Columns of messages, of what is asked and answered, of what was preferred: a text in one form."""

    def told(self, fill, rows, **row):
        source = fill({"a.jsonl": json.dumps(row) + "\n"})
        (got,) = rows(source).values()
        return got["content"].decode()

    @pytest.mark.parametrize(
        ("row", "text"),
        [
            ({"question": "2+2?", "answer": "4"}, "<|user|>\n2+2?\n<|assistant|>\n4"),
            (
                {"instruction": "Add.", "input": "2, 2", "output": "4", "chosen": "four", "rejected": "5"},
                "<|user|>\nAdd.\n\n2, 2\n<|assistant|>\nfour\n<|rejected|>\n5",
            ),
            (
                {
                    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}],
                    "prompt": "hi",
                },
                "<|user|>\nhi\n<|assistant|>\nho",
            ),
            (
                {
                    "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
                    "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}],
                },
                "<|user|>\nq\n<|assistant|>\na\n<|rejected|>\nb",
            ),
            ({"prompt": "q", "completion": "a", "label": True}, "<|user|>\nq\n<|assistant|>\na"),
            ({"prompt": "q", "completion": "a", "label": False}, "<|user|>\nq\n<|rejected|>\na"),
            ({"messages": "only a text"}, "only a text"),
        ],
    )
    def test_a_row_is_a_conversation(self, fill, rows, row, text):
        assert self.told(fill, rows, **row) == text
