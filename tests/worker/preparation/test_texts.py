"""Text: encodings, cleaning, documents out of files and tables, languages, duplicates."""

import gzip
import io
import json

import pyarrow
import pytest
from pyarrow import parquet

from shared.errors import Invalid
from worker.preparation.blocks import LONGEST_BLOCK_CHARACTERS, blocks
from worker.preparation.characters import clean
from worker.preparation.language import language_of

CHINESE = "汉皇重色思倾国，御宇多年求不得。杨家有女初长成，养在深闺人未识。"
FRENCH = "Déjà vu: le café était fermé à Noël, où l'élève a mangé."
GERMAN = "Über die Brücke fährt täglich ein großer Zug nach München."
RUSSIAN = "Мороз и солнце; день чудесный! Ещё ты дремлешь, друг прелестный."
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (CHINESE, "utf-8"),
        (CHINESE, "utf-8-sig"),
        (CHINESE, "utf-16"),
        (CHINESE, "utf-32"),
        (CHINESE + "\n一", "utf-16-le"),
        (FRENCH, "utf-16-be"),
        (CHINESE, "gb18030"),
        (FRENCH, "latin-1"),
        ("café", "latin-1"),
        (GERMAN, "latin-1"),
        (f"“{GERMAN}” – €", "cp1252"),
        (RUSSIAN, "cp1251"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
    ],
)
def test_a_file_in_any_common_encoding_is_read_as_it_was_meant(
    desk, everything, text, encoding, all_texts
):
    dataset, _ = desk.texts(desk.file("a.txt", f"{text}\n".encode(encoding)), **everything)
    assert all_texts(dataset) == [text]


def test_the_encoding_is_found_far_into_a_file(desk, everything, all_texts):
    late = ("plain\n\n" * 60_000 + CHINESE).encode("gb18030")
    dataset, _ = desk.texts(desk.file("a.txt", late), **everything)
    assert all_texts(dataset)[-1].endswith(CHINESE)


def test_each_file_has_its_own_encoding(desk, everything, all_texts):
    members = {"a.txt": CHINESE.encode("gb18030"), "b.txt": FRENCH.encode("latin-1")}
    dataset, _ = desk.texts(desk.zip("a.zip", members), **everything)
    assert all_texts(dataset) == sorted([CHINESE, FRENCH])


def test_bytes_that_are_no_text_are_rejected_with_where(desk, everything, picture):
    members = {
        "good.txt": b"A good one.",
        "noise.txt": bytes(range(128, 256)) * 9 + bytes(range(1, 32)),
        "picture.txt": picture(1),
        "zeros.md": bytes(100),
        "empty.txt": b"",
        "page.html": b"<p>",
    }
    _, report = desk.texts(desk.zip("a.zip", members), **everything)
    assert report.examples == 1
    rejected = {row["where"] for row in report.rejected}
    assert rejected == {f"a.zip/{name}" for name in members if name != "good.txt"}


def test_one_damaged_line_is_rejected_with_file_and_line(desk, everything):
    lines = [json.dumps({"text": f"{CHINESE} {k}"}, ensure_ascii=False).encode() for k in range(9)]
    lines[4] = lines[4].replace("汉".encode(), b"\xff\xfe")
    _, report = desk.texts(desk.file("a.jsonl", b"\n".join(lines)), **everything)
    assert report.examples == 8
    assert report.rejected[0]["where"] == "a.jsonl:5"


def test_json_lines_reject_each_bad_line_with_its_reason(desk, everything):
    bad = ["{", "[1]", '{"text": 1}', '{"body": "x"}', '{"text": " \\u0000 "}', "[" * 100_000]
    lines = ['{"text": "fine"}', *bad, "", '{"text": "also fine"}']
    _, report = desk.texts(desk.file("a.jsonl", "\n".join(lines).encode()), **everything)
    assert report.examples == 2
    assert [row["where"] for row in report.rejected] == [f"a.jsonl:{k}" for k in range(2, 8)]
    reasons = [row["reason"].partition(":")[0] for row in report.rejected]
    assert reasons == [
        "not JSON",
        "not a JSON object",
        "'text' is not text",
        "no 'text'; it has 'body'",
        "it is empty",
        "not JSON",
    ]


def test_a_table_without_the_column_is_refused_with_the_columns_it_has(desk):
    with pytest.raises(Invalid, match=r"a\.csv: no column 'text'; it has 'title', 'body'"):
        desk.texts(desk.file("a.csv", b"title,body\na,b\n"))


def test_damaged_gzip_data_are_rejected_with_where(desk, json_lines, everything):
    packed = gzip.compress(json_lines([f"Document {k}" for k in range(5000)]))
    damaged = desk.file("a.jsonl.gz", packed[:9000] + bytes(9) + packed[9009:])
    _, report = desk.texts(desk.file("good.txt", b"A good one."), damaged, **everything)
    assert report.rejected[-1]["where"] == "a.jsonl.gz"
    assert "damaged gzip data" in report.rejected[-1]["reason"]


def test_csv_reads_quoted_cells_over_lines(desk, everything, all_texts):
    content = 'id,body,kind\n1,"one, ""two""\r\nthree",x\n2,four,y\n3\n4,six,\n'
    source = desk.file("a.csv.gz", gzip.compress(content.encode()))
    dataset, report = desk.texts(source, column="body", label_column="kind", **everything)
    assert all_texts(dataset) == ["four", 'one, "two"\nthree', "six"]
    assert report.labels == {"x": 1, "y": 1}
    assert report.rejected == [{"where": "a.csv.gz:5", "reason": "1 cells, but the header has 3"}]


def test_parquet_gives_documents_with_labels(desk, everything, all_texts):
    target = io.BytesIO()
    table = pyarrow.table({"text": ["one", None, "three"], "stars": [5, 4, 10], "x": [1, 2, 3]})
    parquet.write_table(table, target)
    source = desk.file("a.parquet", target.getvalue())
    dataset, report = desk.texts(source, label_column="stars", **everything)
    assert all_texts(dataset) == ["one", "three"]
    assert report.labels == {"5": 1, "10": 1}
    assert report.rejected[0]["where"] == "a.parquet:2"


def test_a_damaged_parquet_file_is_refused(desk):
    target = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": ["one"] * 1000}), target)
    with pytest.raises(Invalid, match=r"a\.parquet: a damaged Parquet file"):
        desk.texts(desk.file("a.parquet", target.getvalue()[:200]))


def test_each_line_of_the_result_has_text_label_and_language(desk, json_lines, everything):
    source = desk.file("a.jsonl", json_lines([GERMAN, "ok"], kind=["x", None]))
    dataset, _ = desk.texts(source, label_column="kind", **everything)
    lines = (dataset.folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"text": GERMAN, "label": "x", "language": "de"},
        {"text": "ok", "label": None, "language": "und"},
    ]


def test_folders_label_plain_files(desk, everything):
    members = {
        f"{kind}/{k}.txt": f"{kind} {k}".encode() for kind in ("ham", "spam") for k in (1, 2)
    }
    _, report = desk.texts(desk.zip("mail.zip", members), **everything)
    assert report.labels == {"ham": 2, "spam": 2}


def test_cleaning_leaves_text_in_nfc_without_control_characters():
    assert clean("\ufeff e\u0301te\u0301\r\nzwei\rdrei\u2028vier\x07\x00\t.\x1b[0m \n") == (
        "été\nzwei\ndrei\nvier\t.[0m"
    )
    assert clean("\x00\r\n\ud800") == ""


def test_a_short_file_is_one_document_and_a_long_one_is_cut_between_paragraphs(desk, everything):
    paragraph = " ".join(["A sentence of some length."] * 20)
    short = desk.file("short.txt", f"{paragraph}\n\n{paragraph}".encode())
    _, report = desk.texts(short, **everything)
    assert report.examples == 1
    text = "".join(f"{k} {paragraph}\n\n" for k in range(30))
    dataset, report = desk.texts(desk.file("long.txt", text.encode()), **everything)
    assert report.examples == 8
    assert "\n\n".join(dataset.documents("train")) == text.strip()


def test_blocks_lose_nothing_and_stay_below_the_longest():
    text = "verse\n" * 3000 + "x" * 30_000 + "\n\n\n" + "word " * 900
    found = list(blocks(enumerate(text.splitlines(keepends=True), 1)))
    assert "".join(block for _, block in found) == text
    assert max(len(block) for _, block in found) <= LONGEST_BLOCK_CHARACTERS
    numbers = [number for number, _ in found]
    assert numbers == sorted(numbers)


def test_text_added_to_a_file_leaves_its_documents_as_they_were(desk):
    text = "".join(f"Paragraph {k}. {'Some words. ' * (k % 50)}\n\n" for k in range(200))
    before, _ = desk.texts(desk.file("a.txt", text.encode()))
    after, _ = desk.texts(desk.file("a.txt", (text + text[::-1]).encode()))
    lost = [
        set(before.documents(s)) - set(after.documents(s)) for s in ("train", "validation", "test")
    ]
    assert sum(map(len, lost)) <= 1


def test_languages_are_told_and_counted(desk, json_lines, everything):
    texts = [CHINESE, FRENCH, GERMAN, RUSSIAN, JAPANESE, "1."]
    dataset, report = desk.texts(desk.file("a.jsonl", json_lines(texts)), **everything)
    counts = {"zh": 1, "fr": 1, "de": 1, "ru": 1, "ja": 1, "und": 1}
    assert report.languages == counts
    assert json.loads((dataset.folder / "manifest.json").read_text())["languages"] == counts
    assert language_of("Short.") == "und"


def test_documents_that_share_nearly_everything_are_near_duplicates(desk, json_lines, everything):
    long = " ".join(f"Word{k} follows word{k - 1}." for k in range(60))
    texts = [long, long.replace("Word30", "Term30"), long[::-1], "Emma", "Emmy", long + "\r\n"]
    _, report = desk.texts(desk.file("a.jsonl", json_lines(texts)), **everything)
    assert report.duplicates == {"exact": 1, "near": 1}
    assert report.examples == 4


def test_the_sheet_shows_excerpts(desk, json_lines, everything):
    source = desk.file("a.jsonl", json_lines([GERMAN * 20, FRENCH], kind=["x", "y"]))
    dataset, report = desk.texts(source, label_column="kind", **everything)
    sheet = (dataset.folder / report.sheet).read_text(encoding="utf-8")
    assert f"[fr] y\n{FRENCH}\n" in sheet
    assert f"[de] x\n{GERMAN}" in sheet
    assert len(sheet) < 600


def test_a_label_column_that_nobody_has_is_a_warning(desk, json_lines, everything):
    source = desk.file("a.jsonl", json_lines(["one", "two"]))
    _, report = desk.texts(source, label_column="kind", **everything)
    assert report.warnings[0] == "no document has a label in 'kind'"


def test_the_report_is_plain_json_and_measures_documents(desk, json_lines):
    texts = ["x" * length for length in range(1, 102)]
    _, report = desk.texts(desk.file("a\x00.jsonl", json_lines(texts) + b"{\n"), deduplicate=False)
    assert report.sizes["length"] == {"min": 1, "p05": 6, "p50": 51, "p95": 96, "max": 101}
    assert report.sizes["characters"] == sum(range(1, 102))
    assert "\\u0000" not in json.dumps(report.as_json())
