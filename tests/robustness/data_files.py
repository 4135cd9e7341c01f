"""Makes malformed data files, by class of fault."""

import bz2
import datetime
import gzip
import io
import json
import random
import struct
import zipfile
from collections.abc import Iterator
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq

from tests.robustness.cases import AnyOf, BadRow, DataCase, Read, Refused

_ROWS = 40
_HEADER = "user,item,clicked,price"
_DAMAGED = "damaged or cut short"


def make_cases(seed: int) -> list[DataCase]:
    """All cases; the same seed gives the same bytes."""
    return [case for make in _MAKERS for case in make(random.Random(f"{seed} {make.__name__}"))]


def _lines(rng: random.Random) -> list[str]:
    """Rows of a CSV file, without its header."""
    return [f"u{rng.randrange(9)},i{rng.randrange(9)},{row % 2},{rng.uniform(0, 10):.2f}" for row in range(_ROWS)]


def _csv(lines: list[str], end: str = "\n") -> bytes:
    return end.join([_HEADER, *lines, ""]).encode()


def _users(lines: list[str]) -> tuple[str, ...]:
    return tuple(line.split(",")[0] for line in lines)


def _read(lines: list[str]) -> Read:
    return Read(len(lines), _users(lines))


def _flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


def _gzip(data: bytes) -> bytes:
    # The header would hold the time of day.
    return gzip.compress(data, mtime=0)


def _compressions() -> dict[str, object]:
    return {
        ".gz": _gzip,
        ".bz2": bz2.compress,
        ".zst": lambda data: pa.Codec("zstd").compress(data).to_pybytes(),
    }


def compressed_and_cut(rng: random.Random) -> Iterator[DataCase]:
    for suffix, compress in _compressions().items():
        for _ in range(6):
            packed = compress(_csv(_lines(rng)))
            cut = packed[: rng.randrange(1, len(packed))]
            yield DataCase(f"{suffix[1:]} cut short", {f"a.csv{suffix}": cut}, Refused((f"a.csv{suffix}", _DAMAGED)))


def compressed_and_changed(rng: random.Random) -> Iterator[DataCase]:
    for suffix, compress in _compressions().items():
        if suffix == ".zst":
            # Frames without a checksum do not show every change.
            continue
        for _ in range(6):
            packed = compress(_csv(_lines(rng)))
            changed = _flipped(packed, rng.randrange(len(packed) // 3, len(packed)))
            yield DataCase(
                f"{suffix[1:]} with a changed byte", {f"a.csv{suffix}": changed}, Refused((f"a.csv{suffix}", _DAMAGED))
            )


def compressed_by_name_alone(rng: random.Random) -> Iterator[DataCase]:
    for suffix in (".gz", ".bz2", ".zst", ".zip"):
        yield DataCase(
            "text named as packed", {f"a.csv{suffix}": _csv(_lines(rng))}, Refused((f"a.csv{suffix}", _DAMAGED))
        )
    for suffix, compress in _compressions().items():
        wrong = {".gz": ".bz2", ".bz2": ".zst", ".zst": ".gz"}[suffix]
        packed = compress(_csv(_lines(rng)))
        yield DataCase("packed under another suffix", {f"a.csv{wrong}": packed}, Refused((f"a.csv{wrong}", _DAMAGED)))
        yield DataCase("packed without a suffix", {"a.csv": packed}, Refused(("a.csv", "first bytes", suffix)))


def compressed_in_parts(rng: random.Random) -> Iterator[DataCase]:
    for suffix, compress in _compressions().items():
        lines = _lines(rng)
        whole = _csv(lines)
        packed = compress(whole[:200]) + compress(whole[200:])
        yield DataCase("packed in several members", {f"a.csv{suffix}": packed}, _read(lines))


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in members.items():
            # By its name alone, a member would hold the time of day.
            member = zipfile.ZipInfo(name)
            member.compress_type = method
            archive.writestr(member, content)
    return target.getvalue()


def compressed_with_more(rng: random.Random) -> Iterator[DataCase]:
    for suffix, compress in _compressions().items():
        for more in (bytes(20), b"garbage" * 5):
            lines = _lines(rng)
            either = AnyOf((Refused((f"a.csv{suffix}", _DAMAGED)), _read(lines)))
            packed = compress(_csv(lines)) + more
            yield DataCase("bytes behind the packed text", {f"a.csv{suffix}": packed}, either)


def zip_archives(rng: random.Random) -> Iterator[DataCase]:
    for _ in range(6):
        packed = _zip({"a.csv": _csv(_lines(rng))})
        cut = packed[: rng.randrange(1, len(packed))]
        yield DataCase("zip cut short", {"a.csv.zip": cut}, Refused(("a.csv.zip", _DAMAGED)))
    for _ in range(4):
        # The bytes of the packed text follow the member's header.
        packed = _zip({"a.csv": _csv(_lines(rng))})
        changed = _flipped(packed, rng.randrange(60, 200))
        yield DataCase("zip with a changed byte", {"a.csv.zip": changed}, Refused(("a.csv.zip", _DAMAGED)))
    packed = _zip({"a.csv": _csv(_lines(rng))})
    central = packed.index(b"PK\1\2")
    encrypted = bytearray(packed)
    encrypted[6] |= 1
    encrypted[central + 8] |= 1
    yield DataCase(
        "zip that is encrypted", {"a.csv.zip": bytes(encrypted)}, Refused(("a.csv.zip", "encrypted", "password"))
    )
    unknown = bytearray(packed)
    unknown[8:10] = unknown[central + 10 : central + 12] = struct.pack("<H", 97)
    yield DataCase("zip of an unknown method", {"a.csv.zip": bytes(unknown)}, Refused(("a.csv.zip", _DAMAGED)))
    for members in ({}, {"a.csv": _csv(_lines(rng)), "b.csv": _csv(_lines(rng))}):
        yield DataCase(
            "zip without exactly one file",
            {"a.csv.zip": _zip(members)},
            Refused(("a.csv.zip", f"holds {len(members)} files")),
        )
    lines = _lines(rng)
    with_notes = _zip({"data/a.csv": _csv(lines), "__MACOSX/._a.csv": b"x"})
    yield DataCase("zip with a folder and notes", {"a.csv.zip": with_notes}, _read(lines))


def _table(rng: random.Random, **changes: pa.Array) -> pa.Table:
    columns = {
        "user": pa.array([f"u{rng.randrange(9)}" for _ in range(_ROWS)]),
        "item": pa.array([f"i{rng.randrange(9)}" for _ in range(_ROWS)]),
        "clicked": pa.array([row % 2 for row in range(_ROWS)]),
        "price": pa.array([rng.uniform(0, 10) for _ in range(_ROWS)]),
    }
    return pa.table(columns | changes)


def _parquet(table: pa.Table, **options) -> bytes:
    target = io.BytesIO()
    pq.write_table(table, target, **options)
    return target.getvalue()


def parquet_damage(rng: random.Random) -> Iterator[DataCase]:
    refused = Refused(("a.parquet", "Parquet"))
    for _ in range(6):
        whole = _parquet(_table(rng))
        yield DataCase("Parquet cut short", {"a.parquet": whole[: rng.randrange(1, len(whole))]}, refused)
    for _ in range(6):
        whole = _parquet(_table(rng))
        (footer,) = struct.unpack("<I", whole[-8:-4])
        changed = _flipped(whole, len(whole) - 8 - rng.randrange(1, footer))
        # A change in the footer's statistics or notes harms nothing.
        readable = AnyOf((refused, Read(_ROWS), Refused(("a.parquet", "no column"))))
        yield DataCase("Parquet with a changed footer", {"a.parquet": changed}, readable)
    for compression in ("snappy", "zstd", "none"):
        for _ in range(3):
            table = _table(rng)
            whole = _parquet(table, compression=compression, write_page_checksum=True, use_dictionary=False)
            changed = _flipped(whole, rng.randrange(200, 400))
            # Headers of pages have no checksum, and parts that no reader needs.
            either = AnyOf((refused, Read(_ROWS, tuple(table["user"].to_pylist()))))
            yield DataCase("Parquet with a changed page", {"a.parquet": changed}, either)
    for content in (b"PAR1", b"PAR1PAR1", b"PAR1" + bytes(20) + b"PAR1", _csv(_lines(rng)), b"\0" * 100):
        yield DataCase("no Parquet", {"a.parquet": content}, refused)
    packed = _gzip(_parquet(_table(rng)))
    yield DataCase("no Parquet", {"a.parquet.gz": packed}, Refused(("a.parquet.gz", "unpack")))


def parquet_types(rng: random.Random) -> Iterator[DataCase]:
    def of(value: object, kind: pa.DataType) -> pa.Array:
        return pa.array([value] * _ROWS, kind)

    texts = pa.string()
    nested = {
        "struct": of({"a": 1}, pa.struct([("a", pa.int64())])),
        "map": of([("a", 1)], pa.map_(texts, pa.int64())),
        "list of structs": of([{"a": 1}], pa.list_(pa.struct([("a", pa.int64())]))),
        "duration": of(datetime.timedelta(seconds=5), pa.duration("s")),
        "time": of(datetime.time(1, 2), pa.time64("us")),
        "interval": of((1, 2, 3), pa.month_day_nano_interval()),
    }
    for column in ("user", "clicked", "price"):
        for kind, values in nested.items():
            if kind == "interval":
                # Parquet cannot hold it.
                continue
            content = _parquet(_table(rng, **{column: values}))
            yield DataCase(
                f"Parquet column of type {kind}", {"a.parquet": content}, Refused(("a.parquet", repr(column), "type"))
            )
        content = _parquet(_table(rng, **{column: of(["a", "b"], pa.list_(texts))}))
        yield DataCase(
            "Parquet column of type list", {"a.parquet": content}, Refused(("a.parquet", repr(column), "list"))
        )
    for column in ("clicked", "price"):
        for value in (datetime.datetime(2024, 1, 1), datetime.date(2024, 1, 1)):
            content = _parquet(_table(rng, **{column: of(value, None)}))
            yield DataCase(
                "Parquet dates as numbers", {"a.parquet": content}, Refused(("a.parquet", repr(column), "numbers"))
            )
    lines = [f"u{row % 5}" for row in range(_ROWS)]
    for kind in (
        pa.dictionary(pa.int32(), texts),
        pa.large_string(),
        pa.binary(),
        pa.large_binary(),
        pa.binary(2),
    ):
        if pa.types.is_dictionary(kind):
            users = pa.array(lines).dictionary_encode()
        else:
            users = (
                pa.array([line.encode() for line in lines], kind) if "binary" in str(kind) else pa.array(lines, kind)
            )
        yield DataCase(
            "Parquet texts of every type", {"a.parquet": _parquet(_table(rng, user=users))}, Read(_ROWS, tuple(lines))
        )
    for kind in (pa.float32(), pa.float16(), pa.int8(), pa.uint64(), pa.decimal128(9, 2), pa.bool_()):
        values = [row % 2 for row in range(_ROWS)]
        labels = pa.array([Decimal(v) for v in values] if pa.types.is_decimal(kind) else values).cast(kind)
        yield DataCase(
            "Parquet numbers of every type", {"a.parquet": _parquet(_table(rng, clicked=labels))}, Read(_ROWS)
        )


def parquet_values(rng: random.Random) -> Iterator[DataCase]:
    def at(position: int, value: object, other: object, kind: pa.DataType) -> pa.Array:
        return pa.array([value if row == position else other for row in range(_ROWS)], kind)

    wrong = [
        ("user", 1.5, 2.0, pa.float64()),
        ("user", 2.0**60, 2.0, pa.float64()),
        ("user", 1e8, 2.0, pa.float32()),
        ("user", float("inf"), 2.0, pa.float64()),
        ("user", None, "u1", pa.string()),
        ("user", "", "u1", pa.string()),
        ("user", b"\xff\xfe", b"u1", pa.binary()),
        ("clicked", 2, 1, pa.int64()),
        ("clicked", None, 1, pa.int64()),
        ("clicked", float("nan"), 1.0, pa.float64()),
        ("clicked", "x", "1", pa.string()),
        ("price", float("inf"), 1.0, pa.float64()),
        ("price", 1e39, 1.0, pa.float64()),
        ("price", "x", "1", pa.string()),
    ]
    for column, value, other, kind in wrong:
        position = rng.randrange(_ROWS)
        content = _parquet(_table(rng, **{column: at(position, value, other, kind)}))
        bad = BadRow(position + 1, (repr(column),), _ROWS - 1)
        yield DataCase("Parquet value that does not fit", {"a.parquet": content}, bad)


def parquet_names(rng: random.Random) -> Iterator[DataCase]:
    table = _table(rng)
    twice = table.append_column("user", table["item"])
    yield DataCase("column named twice", {"a.parquet": _parquet(twice)}, Refused(("a.parquet", "'user'", "1 and 5")))
    yield DataCase("column missing", {"a.parquet": _parquet(table.drop(["price"]))}, Refused(("a.parquet", "'price'")))
    empty = _parquet(table.slice(0, 0))
    yield DataCase("no rows", {"a.parquet": empty}, Read(0))


def encodings(rng: random.Random) -> Iterator[DataCase]:
    def text() -> tuple[str, list[str]]:
        lines = [line.replace("u", "é", 1) for line in _lines(rng)]
        return "\n".join([_HEADER, *lines, ""]), lines

    for encoding in ("utf-16-le", "utf-16-be"):
        for _ in range(3):
            content, lines = text()
            packed = content.encode(encoding)
            yield DataCase("UTF-16 without its name", {"a.csv": packed}, Refused(("a.csv", "UTF-16", encoding)))
            yield DataCase("UTF-16 with its name", {"a.csv": packed}, _read(lines), table={"encoding": encoding})
    for encoding in ("utf-16", "utf-32", "utf-8-sig"):
        content, lines = text()
        yield DataCase("byte order mark", {"a.csv": content.encode(encoding)}, _read(lines))
    for encoding in ("utf-32-le", "utf-32-be"):
        content, _ = text()
        yield DataCase(
            "UTF-32 without its name", {"a.csv": content.encode(encoding)}, Refused(("a.csv", ("UTF-32", "NUL")))
        )
    for encoding in ("latin-1", "cp1252", "iso8859-15"):
        content, lines = text()
        yield DataCase(
            "8-bit text with its name", {"a.csv": content.encode(encoding)}, _read(lines), table={"encoding": encoding}
        )
    for _ in range(6):
        lines = _lines(rng)
        row = rng.randrange(_ROWS)
        fields = lines[row].encode().split(b",")
        fields[1] = b"caf\xe9"
        content = [_HEADER.encode(), *(line.encode() for line in lines), b""]
        content[row + 1] = b",".join(fields)
        bad = BadRow(row + 2, ("'item'", "not utf-8"), _ROWS - 1)
        yield DataCase("a row that is not UTF-8", {"a.csv": b"\n".join(content)}, bad)
    header = _csv(_lines(rng)).replace(b"price", b"pr\xeece")
    yield DataCase("a header that is not UTF-8", {"a.csv": header}, Refused(("a.csv", "line 1", "utf-8")))


def binary_content(rng: random.Random) -> Iterator[DataCase]:
    contents = [
        b"\x89PNG\r\n\x1a\n" + rng.randbytes(200),
        b"%PDF-1.7\n" + rng.randbytes(200),
        b"\x80\x04\x95" + rng.randbytes(100),
        b"SQLite format 3\0" + rng.randbytes(100),
        b"\x7fELF" + bytes(50),
        b"PK\x03\x04" + rng.randbytes(50),
        b"ORC" + rng.randbytes(100),
        b"Obj\x01" + rng.randbytes(100),
        b"ARROW1\0\0" + rng.randbytes(100),
        b"\xff" * 50,
        bytes(100),
        b"{\x00" + rng.randbytes(90),
        b"\n\n\x00\n",
    ]
    for content in contents:
        for name in ("a.csv", "a.jsonl"):
            yield DataCase("binary content", {name: content}, Refused((name,)))
    for _ in range(4):
        lines = _lines(rng)
        row = rng.randrange(_ROWS)
        lines[row] = lines[row].replace("i", "i\0", 1)
        # Near the start of a file a NUL byte means that it is no text.
        either = AnyOf((Refused(("a.csv", f"line {row + 2}", "NUL")), BadRow(row + 2, ("'item'", "NUL"), _ROWS - 1)))
        yield DataCase("NUL byte in a row", {"a.csv": _csv(lines)}, either)


def empty_files(rng: random.Random) -> Iterator[DataCase]:
    yield DataCase("empty file", {"a.csv": b""}, Refused(("a.csv", "empty")))
    yield DataCase("empty file", {"a.jsonl": b""}, Refused(("a.jsonl", "empty")))
    yield DataCase("empty file", {"a.parquet": b""}, Refused(("a.parquet", "empty")))
    for suffix, compress in _compressions().items():
        yield DataCase("empty file", {f"a.csv{suffix}": compress(b"")}, Refused((f"a.csv{suffix}", "empty")))
    for content in (b"\n", b"\r\n\r\n", b"\xef\xbb\xbf", b"\xff\xfe"):
        yield DataCase("empty lines alone", {"a.csv": content}, Refused(("a.csv", "empty lines")))
    yield DataCase("header alone", {"a.csv": _HEADER.encode() + b"\n"}, Read(0))
    yield DataCase("header alone", {"a.csv": _HEADER.encode()}, Read(0))
    yield DataCase("empty lines alone", {"a.jsonl": b"\n\n"}, Refused(("a.jsonl",)))


def globs(rng: random.Random) -> Iterator[DataCase]:
    beside = {
        "_SUCCESS": b"",
        "_metadata": b"x",
        "_common_metadata": b"x",
        "_committed_1": b"x",
        "_started_1": b"",
        ".part-1.csv": b"x",
        ".a.csv.crc": b"x",
        "a.csv.crc": b"x",
        "empty.csv": b"",
    }
    for name, content in beside.items():
        lines = _lines(rng)
        files = {"a.csv": _csv(lines), name: content}
        yield DataCase("marker beside data", files, _read(lines), pattern="*")
        yield DataCase("marker alone", {name: content}, Refused((name,)), pattern="*")
        yield DataCase("marker by its name", files, Refused((name,)), pattern=name)
    lines = _lines(rng)
    yield DataCase("nothing matches", {"a.csv": _csv(lines)}, Refused(("*.tsv", "a.csv")), pattern="*.tsv")
    yield DataCase("nothing matches", {"a.csv": _csv(lines)}, Refused(("b.csv", "a.csv")), pattern="b.csv")
    yield DataCase("nothing matches", {}, Refused(("b/c.csv",)), pattern="b/c.csv")
    directory = Refused(("sub", "directory"))
    yield DataCase("directory among files", {"a.csv": _csv(lines), "sub": None}, directory, pattern="*")
    yield DataCase("directory among files", {"sub": None}, directory, pattern="sub")
    dangling = Refused(("b.csv", "link"))
    yield DataCase("link to nowhere", {"a.csv": _csv(lines)}, dangling, pattern="*", links={"b.csv": "nowhere"})
    yield DataCase("link in a circle", {"a.csv": _csv(lines)}, dangling, pattern="*", links={"b.csv": "b.csv"})
    yield DataCase(
        "link to a file of the table", {"a.csv": _csv(lines)}, _read(lines), pattern="*", links={"b.csv": "a.csv"}
    )
    yield DataCase("device as file", {}, Refused(("b.csv", "device")), pattern="b.csv", links={"b.csv": "/dev/null"})
    yield DataCase("files of two formats", {"a.csv": _csv(lines), "b.jsonl": b"{}"}, Refused(("b.jsonl",)), pattern="*")
    other = b"user,item,price\nu,i,1\n"
    yield DataCase(
        "files of two headers", {"a.csv": _csv(lines), "b.csv": other}, Refused(("b.csv", "'clicked'")), pattern="*"
    )


def csv_structure(rng: random.Random) -> Iterator[DataCase]:
    for end in ("\n", "\r\n", "\r"):
        lines = _lines(rng)
        yield DataCase("line ends of every kind", {"a.csv": _csv(lines, end)}, _read(lines))
        yield DataCase("no line end at the end", {"a.csv": _csv(lines, end).rstrip()}, _read(lines))
    lines = _lines(rng)
    spaced = _csv([line.replace(",", " , ") for line in lines]).replace(b"user,item", b" user , item ")
    yield DataCase("spaces around fields", {"a.csv": spaced}, _read(lines))
    for extra, words in ((",x", ("expected 4 fields", "found 5")), (None, ("expected 4 fields", "found 3"))):
        for _ in range(4):
            lines = _lines(rng)
            row = rng.randrange(_ROWS)
            lines[row] = lines[row] + extra if extra else lines[row].rsplit(",", 1)[0]
            yield DataCase("fields too many or too few", {"a.csv": _csv(lines)}, BadRow(row + 2, words, _ROWS - 1))
    for _ in range(4):
        lines = _lines(rng)
        row = rng.randrange(_ROWS)
        lines[row] = '"' + lines[row]
        yield DataCase(
            "quote that is never closed", {"a.csv": _csv(lines)}, Refused(("a.csv", f"line {row + 2}", "quote"))
        )
    for _ in range(4):
        lines = _lines(rng)
        row = rng.randrange(_ROWS)
        lines[row] = '"u"3' + lines[row][2:]
        malformed = AnyOf((BadRow(row + 2, ("quote",), _ROWS - 1), Refused(("a.csv", f"line {row + 2}", "quote"))))
        yield DataCase("text behind a quote", {"a.csv": _csv(lines)}, malformed)
    for position, name in enumerate(_HEADER.split(",")):
        header = _HEADER.split(",")
        header[position] = header[(position + 1) % 4]
        content = ",".join(header).encode() + _csv(_lines(rng))[len(_HEADER) :]
        yield DataCase("column named twice", {"a.csv": content}, Refused(("a.csv", repr(header[position]))))
        header[position] = name.upper() + "_"
        content = ",".join(header).encode() + _csv(_lines(rng))[len(_HEADER) :]
        yield DataCase("column missing", {"a.csv": content}, Refused(("a.csv", repr(name))))
    other = _csv(_lines(rng)).replace(b",", b";")
    yield DataCase("another delimiter", {"a.csv": other}, Refused(("a.csv", "'user'")))
    yield DataCase("no header", {"a.csv": _csv(_lines(rng))[len(_HEADER) + 1 :]}, Refused(("a.csv", "'user'")))


def csv_values(rng: random.Random) -> Iterator[DataCase]:
    wrong = [
        (3, "abc"),
        (3, "1,5"),
        (3, "nan"),
        (3, "inf"),
        (3, "-inf"),
        (3, "0x10"),
        (3, "1e39"),
        (3, "-1e39"),
        (3, "1e400"),
        (3, "--1"),
        (3, "1e"),
        (3, "1_000"),
        (3, "\u0661"),
        (3, "5" * 5000),
        (2, "2"),
        (2, "yes"),
        (2, ""),
        (2, "-1"),
        (2, "0.5"),
        (2, "nan"),
        (0, ""),
        (0, " "),
        (1, ""),
    ]
    names = _HEADER.split(",")
    for position, value in wrong:
        lines = _lines(rng)
        row = rng.randrange(_ROWS)
        fields = lines[row].split(",")
        fields[position] = f'"{value}"' if "," in value else value
        lines[row] = ",".join(fields)
        yield DataCase(
            "value that does not fit", {"a.csv": _csv(lines)}, BadRow(row + 2, (repr(names[position]),), _ROWS - 1)
        )


def csv_times(rng: random.Random) -> Iterator[DataCase]:
    for value in ("yesterday", "2024-13-45", "", "99999999999999999999", "nan", "2024-01-01T25:00:00"):
        lines = _lines(rng)
        row = rng.randrange(_ROWS)
        timed = [f"{line},{value if number == row else 1700000000 + number}" for number, line in enumerate(lines)]
        content = _csv(timed).replace(b"price\n", b"price,when\n", 1)
        bad = BadRow(row + 2, ("'when'",), _ROWS - 1)
        yield DataCase("time that cannot be read", {"a.csv": content}, bad, table={"time": "when"})


def _json(rng: random.Random) -> list[dict]:
    names = _HEADER.split(",")
    rows = [dict(zip(names, line.split(","), strict=True)) for line in _lines(rng)]
    return [row | {"clicked": int(row["clicked"]), "price": float(row["price"])} for row in rows]


def _jsonl(rows: list) -> bytes:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()


def json_lines(rng: random.Random) -> Iterator[DataCase]:
    broken = [
        '{"user": "u1"',
        "[1, 2]",
        "5",
        "null",
        '"text"',
        "{'user': 'u1'}",
        '{"user": "u1",}',
        "nothing",
        '{"user": "\\ud800", "item": "i", "clicked": 1, "price": 1}',
        '{"clicked": ' + "9" * 5000 + "}",
        '{"user": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"a": 1} {"b": 2}',
    ]
    for line in broken:
        rows: list = _json(rng)
        row = rng.randrange(1, _ROWS)
        rows[row] = line
        yield DataCase("line that is no JSON object", {"a.jsonl": _jsonl(rows)}, BadRow(row + 1, (), _ROWS - 1))
    for value in ({"a": 1}, [[1]], [{"a": 1}]):
        for column in ("user", "price", "clicked"):
            rows = _json(rng)
            row = rng.randrange(_ROWS)
            rows[row] = rows[row] | {column: value}
            yield DataCase(
                "nested JSON", {"a.jsonl": _jsonl(rows)}, Refused(("a.jsonl", f"line {row + 1}", repr(column)))
            )
    for column, value in (
        ("clicked", 2),
        ("clicked", None),
        ("price", "x"),
        ("user", None),
        ("user", 1.5),
        ("price", 1e39),
    ):
        rows = _json(rng)
        row = rng.randrange(_ROWS)
        rows[row] = rows[row] | {column: value}
        # A float among texts is the text 1.5.
        expected = Read(_ROWS) if (column, value) == ("user", 1.5) else BadRow(row + 1, (repr(column),), _ROWS - 1)
        yield DataCase("JSON value that does not fit", {"a.jsonl": _jsonl(rows)}, expected)
    rows = _json(rng)
    whole = json.dumps(rows).encode()
    yield DataCase("one JSON list", {"a.jsonl": whole}, Refused(("a.jsonl", "line")))
    yield DataCase("one JSON list", {"a.json": json.dumps(rows, indent=1).encode()}, Refused(("a.json", "JSON")))
    users = tuple(row["user"] for row in rows)
    yield DataCase("JSON lines of every kind", {"a.jsonl": _jsonl(rows).replace(b"\n", b"\r\n")}, Read(_ROWS, users))
    yield DataCase("JSON lines of every kind", {"a.jsonl": b"\xef\xbb\xbf" + _jsonl(rows)}, Read(_ROWS, users))
    yield DataCase("JSON lines of every kind", {"a.jsonl": _jsonl(rows).rstrip()}, Read(_ROWS, users))
    cut = _jsonl(rows)[:-10]
    yield DataCase("JSON lines cut short", {"a.jsonl": cut}, BadRow(_ROWS, (), _ROWS - 1))
    big = [row | {"user": 2**70 + number} for number, row in enumerate(rows)]
    yield DataCase(
        "JSON lines of every kind", {"a.jsonl": _jsonl(big)}, Read(_ROWS, tuple(str(row["user"]) for row in big))
    )


def names_of_files(rng: random.Random) -> Iterator[DataCase]:
    for name in (
        "a b.csv",
        "ä.csv",
        "a[1].csv",
        "数据.csv",
        "a'b\".csv",
        "a\nb.csv",
        "-a.csv",
        "a;b.csv",
        "n" * 200 + ".csv",
    ):
        lines = _lines(rng)
        yield DataCase("file names of every kind", {name: _csv(lines)}, _read(lines))
    for name in ("a\0b.csv", "n" * 300 + ".csv", "/".join(["n" * 200] * 30) + ".csv"):
        yield DataCase("file names that cannot be", {}, Refused((name[:1],)), pattern=name)


_MAKERS = (
    compressed_and_cut,
    compressed_and_changed,
    compressed_by_name_alone,
    compressed_in_parts,
    compressed_with_more,
    zip_archives,
    parquet_damage,
    parquet_types,
    parquet_values,
    parquet_names,
    encodings,
    binary_content,
    empty_files,
    globs,
    csv_structure,
    csv_values,
    csv_times,
    json_lines,
    names_of_files,
)
