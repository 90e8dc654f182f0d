"""What an honest reader makes of data files: values, or Malformed with the reason.

Written from what the product documents (proto/gradwatch/v1/job.proto and the headers of core/data), not from its code,
and with the readers of Python's standard library wherever they are strict enough.
"""

import collections
import csv
import gzip
import math
import re
import struct
import zlib


class Malformed(Exception):
    """There is no honest reading."""


# As read_data prints it; `may_be_refused` tells that the file can be read, and that the product documents that it need
# not be.
class Reading:
    def __init__(self, shape, inputs, targets, may_be_refused=False):
        self.shape, self.inputs, self.targets, self.may_be_refused = shape, inputs, targets, may_be_refused

    def __eq__(self, other):
        return (self.shape, self.inputs, self.targets) == (other.shape, other.inputs, other.targets)

    def __str__(self):
        return f"shape {self.shape}, inputs {self.inputs}, targets {self.targets}"


# The order of DataShape's fields in read_data.
def shape(steps=0, features=0, channels=0, height=0, width=0, tokens=0, outputs=0, classes=0, per_step=0):
    return [steps, features, channels, height, width, tokens, outputs, classes, per_step]


def float_bits(value):
    """The bits of the float that is nearest to a double, as 8 hexadecimal digits; Malformed if there is none."""
    if not math.isfinite(value):
        raise Malformed(f"{value} is not finite")
    try:
        return struct.pack(">f", value).hex()
    except OverflowError:
        raise Malformed(f"{value} is no finite float") from None


# gzip


def gunzip(packed):
    """(content, whether the product may refuse it)."""
    try:
        content = gzip.decompress(packed)  # members, checksums and lengths are checked
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise Malformed(f"gzip: {error}") from None
    return content, not is_strict_gzip(packed)


def is_strict_gzip(packed):
    """Whether `packed`, which Python can read, has none of what zlib refuses and Python does not look at: reserved
    flags, a wrong checksum of a header; and no zeros after a member."""
    while packed:
        if packed[0] == 0:
            return False
        flags, at = packed[3], 10
        if flags & 0xe0:
            return False
        if flags & 4:
            at += 2 + int.from_bytes(packed[at:at + 2], "little")
        for text in (8, 16):  # name, comment
            if flags & text:
                at = packed.index(0, at) + 1
        if flags & 2:
            if int.from_bytes(packed[at:at + 2], "little") != zlib.crc32(packed[:at]) & 0xffff:
                return False
            at += 2
        member = zlib.decompressobj(-zlib.MAX_WBITS)
        member.decompress(packed[at:])
        packed = member.unused_data[8:]
    return True


def content_of(data):
    return gunzip(data) if data.startswith(b"\x1f\x8b") else (data, False)


# Text


def read_text(data):
    data, may_be_refused = content_of(data)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(str(error)) from None
    if "\0" in text:
        raise Malformed("NUL: perhaps UTF-16")
    text = text.removeprefix("\ufeff")
    vocabulary = sorted(set(text))
    if len(vocabulary) < 2:
        raise Malformed("fewer than two different characters")
    ids = {character: f"{token:08x}" for token, character in enumerate(vocabulary)}
    tokens = [ids[character] for character in text]
    size = len(vocabulary)
    return Reading(shape(steps=1, features=size, tokens=1, outputs=size, classes=1, per_step=1),
                   "".join(tokens[:-1]), "".join(tokens[1:]), may_be_refused)


# IDX

IDX_TYPES = {0x08: "B", 0x09: "b", 0x0b: "h", 0x0c: "i", 0x0d: "f", 0x0e: "d"}
LARGEST_CLASS = 65_535


def read_idx_file(data):
    """(letter of the type, sizes, elements, whether the product may refuse it)."""
    data, may_be_refused = content_of(data)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX_TYPES or not 1 <= data[3] <= 4:
        raise Malformed("not IDX")
    letter, rank = IDX_TYPES[data[2]], data[3]
    if len(data) < 4 + 4 * rank:
        raise Malformed("cut short in its sizes")
    sizes = struct.unpack(f">{rank}I", data[4:4 + 4 * rank])
    if math.prod(sizes) == 0:
        raise Malformed("a size is 0")
    content = data[4 + 4 * rank:]
    if math.prod(sizes) * struct.calcsize(letter) != len(content):
        raise Malformed("not as long as its sizes say")
    return letter, sizes, struct.unpack(f">{math.prod(sizes)}{letter}", content), may_be_refused


def read_idx(images, labels, first, count):
    """`first` and `count`: of the examples; `count` may be None."""
    letter, sizes, elements, loose = read_idx_file(images)
    label_letter, label_sizes, classes, loose_labels = read_idx_file(labels)
    if label_letter in "fd" or len(label_sizes) != 1:
        raise Malformed("labels are not one integer an example")
    if sizes[0] != label_sizes[0]:
        raise Malformed("not a label for each example")
    if min(classes) < 0 or max(classes) > LARGEST_CLASS:
        raise Malformed("a label is no class")
    end = sizes[0] if count is None else first + count
    if first >= sizes[0] or end > sizes[0]:
        raise Malformed("not that many examples")
    example = math.prod(sizes[1:])
    scale = 255 if letter == "B" else 1
    inputs = [float_bits(element / scale) for element in elements[first * example:end * example]]
    height, width = sizes[-2:] if len(sizes) > 2 else (0, 0)
    channels = (0, 0, 0, 1, sizes[-3:][0])[len(sizes)]
    outputs = max(2, max(classes) + 1)
    return Reading(
        shape(features=example, channels=channels, height=height, width=width, outputs=outputs, classes=1),
        "".join(inputs), "".join(f"{label:08x}" for label in classes[first:end]), loose or loose_labels)


# Tables

SPACE = " \t\v\f\r"  # in one line; str.strip would take what is space in Unicode only
SPACE_AT_QUOTE = re.compile(r'[ \t\v\f\r]"|"[ \t\v\f\r]')
QUOTED_CELL = re.compile(r'[ \t\v\f\r]*"((?:[^"]|"")*)"[ \t\v\f\r]*')
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def number_in(cell):
    """The double in a cell, infinite if it is too large; None if there is none. Python's float alone would take
    underscores, foreign digits, "nan" and "inf"."""
    cell = cell.strip(SPACE)
    return float(cell) if NUMBER.fullmatch(cell) else None


def lines_of(data):
    """Lines that are not empty, as text of one character a byte: what is no number and no name may be in any coding."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Malformed("UTF-16")
    if b"\0" in data:
        raise Malformed("NUL: perhaps UTF-16")
    text = data.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    lines = [line.rstrip(SPACE) for line in text.split("\n")]  # not str.splitlines, which ends lines at \v, \x1c, \x85
    lines = [line for line in lines if line]
    if any("\r" in line for line in lines):
        raise Malformed("a carriage return alone")
    if not lines:
        raise Malformed("empty")
    return lines


def cells_of(line):
    """Space around quotes is allowed, which Python's reader knows only in part: such lines are split here."""
    if SPACE_AT_QUOTE.search(line):
        return split(line)
    # One line at a time, so that a quote that is not closed does not run on into the next one. Strict: it must be
    # closed, and only a comma may follow.
    try:
        rows = list(csv.reader([line], strict=True))
    except csv.Error as error:
        raise Malformed(str(error)) from None
    return rows[0]


def split(line):
    cells, at = [], 0
    while True:
        quoted = QUOTED_CELL.match(line, at)
        if quoted:
            cells.append(quoted[1].replace('""', '"'))
            at = quoted.end()
        elif line[at:].lstrip(SPACE).startswith('"'):
            raise Malformed("a quote is not closed")
        else:
            end = line.find(",", at)
            cells.append(line[at:] if end < 0 else line[at:end])
            at = len(line) if end < 0 else end
        if at == len(line):
            return cells
        if line[at] != ",":
            raise Malformed("text after a quote")
        at += 1


def has_header(rows):
    """HEADER_AUTO, as core/data/csv_table.h tells it."""
    first = rows[0]
    numbers = [cell for cell in first if number_in(cell) is not None]
    texts = [(column, cell.strip(SPACE)) for column, cell in enumerate(first) if number_in(cell) is None]
    if not texts:
        return False
    if not numbers:
        return True
    if any(set(cell) & set(".eE+-") for cell in numbers):
        return False
    for column, text in texts:
        if text and any(len(row) > column and row[column].strip(SPACE) == text for row in rows[1:]):
            return False
    return True


def find_column(name, names, width):
    name = name.encode().decode("latin-1")  # as lines_of
    if names.count(name) == 1:
        return names.index(name)
    if names.count(name) > 1:
        raise Malformed(f"two columns are named {name}")
    if not name.isdecimal() or int(name) >= width:
        raise Malformed(f"no column {name}")
    return int(name)


def read_csv(data, header, inputs, targets):
    data, may_be_refused = content_of(data)
    rows = [cells_of(line) for line in lines_of(data)]
    width = len(rows[0])
    if any(len(row) != width for row in rows):
        raise Malformed("lines of different lengths")
    named = has_header(rows) if header == "AUTO" else header == "YES"
    names = [name.strip(SPACE) for name in rows[0]] if named else []
    columns = [find_column(name, names, width) for name in inputs + targets]
    if len(set(columns)) != len(columns):
        raise Malformed("a column is named twice")
    rows = rows[1:] if named else rows
    if not rows:
        raise Malformed("no data")
    halves = collections.defaultdict(list)
    for row in rows:
        for place, column in enumerate(columns):
            number = number_in(row[column])
            if number is None:
                raise Malformed(f"{row[column]!r} is not a finite number")
            halves[place < len(inputs)].append(float_bits(number))
    return Reading(shape(features=len(inputs), outputs=len(targets)), "".join(halves[True]), "".join(halves[False]),
                   may_be_refused)
