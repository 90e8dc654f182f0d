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

csv.field_size_limit(1 << 30)


class Malformed(Exception):
    """There is no honest reading."""


class Undecided(Malformed):
    """The first line of a table may be a header or data."""


class OutOfRange(Malformed):
    """There are not as many examples as are to be held out."""


def examples_in(text, width):
    """What read_data prints of inputs or targets, cut into examples of `width` numbers."""
    return [text[at:at + 8 * width] for at in range(0, len(text), 8 * width)]


class Reading:
    """Examples as read_data prints them: pairs of inputs and targets. `may_be_refused` tells that the file can be read,
    and that the product documents that it need not be."""

    def __init__(self, shape, training, held_out, may_be_refused=False):
        self.shape, self.training, self.held_out, self.may_be_refused = shape, training, held_out, may_be_refused

    def spoil(self):
        """Turns a bit over."""
        examples = self.held_out or self.training
        inputs, targets = examples[-1]
        examples[-1] = inputs, targets[:-1] + f"{int(targets[-1], 16) ^ 1:x}"

    def differs(self, answer):
        """What is not as it should be; empty if nothing."""
        if answer["shape"] != self.shape:
            return f"shape {answer['shape']}, expected {self.shape}"
        return (self._compare("held out", answer["held_out"], self.held_out, False)
                or self._compare("training", answer["training"], self.training, True))

    def _compare(self, what, halves, want, any_order):
        widths = [len(half) // 8 for half in self.training[0]]
        got = list(zip(*(examples_in(half, width) for half, width in zip(halves, widths))))
        if sum(map(len, halves)) != sum(map(len, want[0])) * len(want) if want else any(halves):
            return f"{what}: {len(got)} examples, expected {len(want)}: {got[:20]} and {want[:20]}"
        if any_order:
            got, want = sorted(got), sorted(want)
        wrong = [pair for pair in zip(got, want) if not self._is_same(*pair)]
        return f"{what}: {wrong[0][0]}, expected {wrong[0][1]}" if wrong else ""

    def _is_same(self, got, want):
        return got == want


class ScaledReading(Reading):
    """Of a table with scaled columns: near enough in place of equal. `slack`: of every number of an example, inputs
    first, what else may be between them, since a mean is subtracted."""

    def __init__(self, *arguments, slack):
        super().__init__(*arguments)
        self.slack = slack

    def spoil(self):
        examples = self.held_out or self.training
        inputs, targets = examples[-1]
        number = struct.unpack(">f", bytes.fromhex(inputs[-8:]))[0]
        examples[-1] = inputs[:-8] + struct.pack(">f", number + 0.5 + abs(number)).hex(), targets

    def _compare(self, what, halves, want, any_order):
        if any_order and len(want) > 1:  # those that are nearly the same may come in another order
            halves, want = self._sorted(halves, want)
        return super()._compare(what, halves, want, False)

    def _sorted(self, halves, want):
        widths = [len(half) // 8 for half in want[0]]
        got = list(zip(*(examples_in(half, width) for half, width in zip(halves, widths))))
        rest, order = list(got), []
        for example in want[:len(got)]:
            order.append(min(rest, key=lambda other: self._distance(other, example)))  # not the first that is near
            rest.remove(order[-1])
        order += rest
        return ["".join(example[half] for example in order) for half in (0, 1)], want

    def _numbers(self, got, want):
        """Triples of a number, what it should be, and its slack."""
        halves = [[struct.unpack(f">{len(half) // 8}f", bytes.fromhex(half)) for half in example]
                  for example in (got, want)]
        return zip(*(inputs + targets for inputs, targets in halves), self.slack)

    def _distance(self, got, want):
        return sum(abs(a - b) for a, b, _ in self._numbers(got, want))

    def _is_same(self, got, want):
        if self.slack[-1] is None and got[1] != want[1]:  # a class, in place of a number
            return False
        return all(abs(a - b) <= 1e-6 * max(1, abs(b)) + (slack or 0) for a, b, slack in self._numbers(got, want))


class TextReading(Reading):
    """Windows: training draws them at random from the first ones."""

    def __init__(self, shape, tokens, length, windows, held_out, may_be_refused):
        self.tokens, self.length, self.windows = "".join(tokens), length, windows
        starts = [len(tokens) - 1 - (held_out - i) * length for i in range(held_out)]
        cut = [("".join(tokens[at:at + length]), "".join(tokens[at + 1:at + length + 1])) for at in starts]
        first = ("".join(tokens[:length]), "".join(tokens[1:length + 1]))
        super().__init__(shape, [first], cut, may_be_refused)

    def spoil(self):
        self.tokens = "f" + self.tokens[1:] if not self.held_out else self.tokens
        super().spoil()
        if not self.held_out:
            self.windows = 0

    def differs(self, answer):
        training = answer["training"]
        if answer["shape"] != self.shape:
            return f"shape {answer['shape']}, expected {self.shape}"
        draws = list(zip(*(examples_in(half, self.length) for half in training)))
        if not draws:
            return "no training"
        for draw in set(draws):
            if not self._is_window(*draw):
                return f"no window: {draw}"
        return self._compare("held out", answer["held_out"], self.held_out, False)

    def _is_window(self, inputs, targets):
        text, end = inputs + targets[-8:], 8 * (self.windows + self.length)
        at = self.tokens.find(text, 0, end)
        while at % 8 and at >= 0:
            at = self.tokens.find(text, at + 1, end)
        return at >= 0 and targets[:-8] == inputs[8:]


def held_out_of(asked, examples):
    """How many examples are held out; asked for -1, all but one."""
    if asked >= examples:
        raise OutOfRange(f"{asked} of {examples} examples held out")
    return examples - 1 if asked < 0 else asked


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
    flags, a wrong checksum of a header. Zeros after a member are fine."""
    while packed := packed.lstrip(b"\0"):
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


OTHER_FORMATS = re.compile(rb"\x1f\x8b|PK\x03\x04|\x28\xb5\x2f\xfd|\xfd7zXZ\0|BZh.1AY&SY|PAR1\x15|\x93NUMPY",
                           re.DOTALL)


def content_of(data):
    """(content, whether the product may refuse it)."""
    content, may_be_refused = gunzip(data) if data.startswith(b"\x1f\x8b") else (data, False)
    if OTHER_FORMATS.match(content):
        raise Malformed("an archive, or compressed otherwise or twice")
    return content, may_be_refused


# Text


def read_text(data, length, held_out):
    """`length`: of a sequence."""
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
    if len(text) <= length:
        raise Malformed("not longer than a sequence")
    windows = len(text) - length  # with none held out
    if held_out < 0:
        held_out = windows - 1
    if held_out >= (len(text) - 1) // length:
        raise OutOfRange(f"{held_out} windows held out")
    ids = {character: f"{token:08x}" for token, character in enumerate(vocabulary)}
    size = len(vocabulary)
    return TextReading(shape(steps=length, features=size, tokens=1, outputs=size, classes=1, per_step=1),
                       [ids[character] for character in text], length, windows - held_out * length, held_out,
                       may_be_refused)


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
    elements = struct.unpack(f">{math.prod(sizes)}{letter}", content)
    return letter, sizes, elements, may_be_refused or letter in "fd" and may_be_reversed(letter, content[:256 << 10])


def may_be_reversed(letter, content):
    """Whether the numbers would be of usual size if they were little-endian. Zeros say nothing."""
    numbers = [number for number, in struct.iter_unpack(f"<{letter}", content) if number != 0]
    return len(numbers) >= 8 and all(1e-6 <= abs(number) <= 1e6 for number in numbers)


def read_idx(images, labels, first, count, held_out):
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
    inputs = "".join(float_bits(element / scale) for element in elements[first * example:end * example])
    height, width = sizes[-2:] if len(sizes) > 2 else (0, 0)
    channels = (0, 0, 0, 1, sizes[-3:][0])[len(sizes)]
    outputs = max(2, max(classes) + 1)
    examples = list(zip(examples_in(inputs, example), (f"{label:08x}" for label in classes[first:end])))
    left = len(examples) - held_out_of(held_out, len(examples))
    return Reading(
        shape(features=example, channels=channels, height=height, width=width, outputs=outputs, classes=1),
        examples[:left], examples[left:], loose or loose_labels)


# Tables

SPACE = " \t\v\f\r"  # in one line; str.strip would take what is space in Unicode only
SPACE_AT_QUOTE = re.compile(r'[ \t\v\f\r]"|"[ \t\v\f\r]')
QUOTED_CELL = re.compile(r'[ \t\v\f\r]*"((?:[^"]|"")*)"[ \t\v\f\r]*')
SPACES_AND_QUOTE = re.compile(r'[ \t\v\f\r]*"')
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


COMMENT = re.compile(r"[ \t\v\f\r]*(?!#(N/A|DIV/0!|REF!|VALUE!|NAME\?|NUM!|NULL!))[#%]")  # but for spreadsheets' errors
MISSING = re.compile(r"|[+-]?(nan|na|n/a|null|none|inf|infinity|<na>|#n/a|#na|missing|\?|-)", re.IGNORECASE)
LONGEST_LINE = 4 << 20
FIRST_BYTES = 128 << 10  # after the first line: what a first line is judged by

# `text`: without quotes, and without space around where it has none.
Cell = collections.namedtuple("Cell", "text quoted")


def number_in(text):
    """The double in a cell, infinite if it is too large; None if there is none. Python's float alone would take
    underscores, foreign digits, "nan" and "inf"."""
    text = text.strip(SPACE)
    return float(text) if NUMBER.fullmatch(text) else None


def lines_of(data):
    """Lines that are not empty, as text of one character a byte: what is no number and no name may be in any coding."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Malformed("UTF-16")
    if b"\0" in data:
        raise Malformed("NUL: perhaps UTF-16")
    text = data.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    lines = [line.rstrip(SPACE) for line in re.sub(r"\n\Z", "", text).split("\n")]  # not splitlines: \v
    if lines[-1] == "\x1a":  # the end of a file of DOS
        lines.pop()
    lines = [line for line in lines if line]
    if any(len(line) > LONGEST_LINE for line in lines):
        raise Malformed("a line is too long")
    if any("\r" in line for line in lines):
        raise Malformed("a carriage return alone")
    if not lines:
        raise Malformed("empty")
    if not COMMENT.match(lines[0]) and any(map(COMMENT.match, lines)):
        raise Malformed("a comment")
    return lines


def cells_of(line):
    """Split here, since Python's reader tells nothing of quotes, and checked against it where it can read the line:
    space around quotes is allowed, which it knows only in part."""
    if SPACE_AT_QUOTE.search(line):
        return split(line)
    # One line at a time, so that a quote that is not closed does not run on into the next one. Strict: it must be
    # closed, and only a comma may follow.
    try:
        rows = list(csv.reader([line], strict=True))
    except csv.Error as error:
        raise Malformed(str(error)) from None
    cells = split(line)
    assert [cell.text.strip(SPACE) for cell in cells] == [text.strip(SPACE) for text in rows[0]], line
    return cells


def split(line):
    cells, at = [], 0
    while True:
        quoted = QUOTED_CELL.match(line, at)
        if quoted:
            cells.append(Cell(quoted[1].replace('""', '"'), True))
            at = quoted.end()
        elif SPACES_AND_QUOTE.match(line, at):
            raise Malformed("a quote is not closed")
        else:
            end = line.find(",", at)
            cells.append(Cell((line[at:] if end < 0 else line[at:end]).strip(SPACE), False))
            at = len(line) if end < 0 else end
        if at == len(line):
            return cells
        if line[at] != ",":
            raise Malformed("text after a quote")
        at += 1


# The first line of a table, by the words of the product's documentation.


def kind_of(cell):
    number = number_in(cell.text)
    if number is not None and math.isfinite(number):
        return "number"
    return "missing" if MISSING.fullmatch(cell.text.strip(SPACE)) else "word"


def is_plain_integer(text):
    return re.fullmatch("[0-9]+", text.strip(SPACE)) is not None


def pattern(text):
    return re.sub("[A-Za-z]", "a", re.sub("[0-9]", "9", text))


def counts_up(texts):
    """Plain integers, each one more than the one before."""
    if not texts or not all(map(is_plain_integer, texts)):
        return False
    numbers = [int(text) for text in texts]
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def is_again(row, first):
    """Quotes and case left aside if there are words. The product knows capitals of ASCII only."""
    if not any(kind_of(cell) == "word" for cell in first) and [cell.quoted for cell in row] != [
            cell.quoted for cell in first]:
        return False
    return [ascii_lower(cell.text) for cell in row] == [ascii_lower(cell.text) for cell in first]


def ascii_lower(text):
    return re.sub("[A-Z]", lambda match: match[0].lower(), text)


def is_header_again(row, header):
    words = [i for i, cell in enumerate(header) if kind_of(cell) == "word"]
    has_numbers = any(is_plain_integer(cell.text) for cell in header)
    can_be_told = bool(words) or all(cell.quoted for cell in header)
    return can_be_told and is_again(row, header) or bool(words) and has_numbers and is_again(
        [row[i] for i in words], [header[i] for i in words])


def first_line(rows):
    """"header", "data" or "undecided". `rows`: lists of cells; those after the first: of the first 128 KiB after it."""
    first = rows[0]
    kinds = [kind_of(cell) for cell in first]
    below = [row for row in rows[1:] if len(row) == len(first) and not is_again(row, first)]
    columns = [[row[i] for row in below] for i in range(len(first))]
    if "word" not in kinds:
        if "missing" not in kinds:
            return judge_numbers(first, below, columns)
        return judge_without_words(first, columns)
    if "number" not in kinds:
        return "header"
    return judge_mixed(first, kinds, below, columns)


def is_far(cell, column):
    """Further from all numbers of a column, which has some, than ten times the width of those and ten more."""
    numbers = [number_in(other.text) for other in column if kind_of(other) == "number"]
    if not numbers:
        return False
    here = number_in(cell.text)
    return max(min(numbers) - here, here - max(numbers)) > 10 * (max(numbers) - min(numbers)) + 10


def look_like_names(first, columns):
    """The numbers of the first line do, as years over small numbers."""
    numbers = [i for i, cell in enumerate(first) if kind_of(cell) == "number"]
    return (len(numbers) >= 2 and counts_up([first[i].text for i in numbers])
            and all(is_far(first[i], columns[i]) for i in numbers))


def judge_numbers(first, below, columns):
    quoted_below = any(cell.quoted and kind_of(cell) == "number" for row in below for cell in row)
    if below and all(cell.quoted for cell in first) and not quoted_below:
        return "header"
    texts = [cell.text for cell in first]
    are_positions = len(first) >= 3 and [text.strip(SPACE) for text in texts] == [str(i) for i in range(len(texts))]
    return "undecided" if are_positions or look_like_names(first, columns) else "data"


def has_quoted_name(first, columns):
    """A quoted number over a column whose numbers are never quoted."""
    for cell, column in zip(first, columns):
        numbers = [other for other in column if kind_of(other) == "number"]
        if cell.quoted and kind_of(cell) == "number" and numbers and not any(other.quoted for other in numbers):
            return True
    return False


def judge_without_words(first, columns):
    index = [cell.text for cell in columns[0]]
    counted = [[str(i) for i in range(start, start + len(index))] for start in (0, 1)]
    if first[0].text.strip(SPACE) == "" and len(index) >= 2 and [text.strip(SPACE) for text in index] in counted:
        return "header"
    if has_quoted_name(first, columns):
        return "header"
    is_index = columns[0] and all(kind_of(cell) != "missing" for cell in columns[0])
    others = [cell.text for cell in first[1:]]
    if first[0].text.strip(SPACE) == "" and is_index and others and all(map(is_plain_integer, others)):
        return "header" if look_like_names(first, columns) else "undecided"
    return "data"


def judge_mixed(first, kinds, below, columns):
    words = [i for i, kind in enumerate(kinds) if kind == "word"]
    numbers = [i for i, kind in enumerate(kinds) if kind == "number"]
    if has_quoted_name(first, columns):
        return "header"
    for_data = any(set(first[i].text) & set(".eE") for i in numbers)
    for_header = look_like_names(first, columns)
    may_be_header = len(numbers) > 1 and counts_up([first[i].text for i in numbers])
    for i in words:
        kinds_below = [kind_of(cell) for cell in columns[i]]
        if "number" in kinds_below and "word" not in kinds_below:
            for_header = may_be_header = True
    for i in words:
        text = first[i].text
        for_data |= any(cell.text == text for cell in columns[i])
        for_data |= (len(below) >= 2 and re.search("[0-9]", text) is not None
                     and all(pattern(cell.text) == pattern(text) for cell in columns[i]))
    if for_data:
        return "undecided" if may_be_header else "data"
    return "header" if for_header else "undecided"


FIRST_LINE_EXAMPLES = (
    ("city,2019,2020,2021/Rome,5,1,3", "header"), (",0,1,2/0,5,6,7/1,8,9,4", "header"),
    ("5.1,3.5,1.4,0.2,Iris-setosa/4.9,3.0,1.4,0.2,Iris-virginica", "data"),
    ("2016-07-01,2,1/2016-07-02,5,3/2016-07-03,1,7", "data"), ("nan,2,1/5,6,7", "data"),
    ("red,5331,6442/green,1703,1616", "undecided"), ('"2019","2020"/5,6', "header"), ("2019,2020/5,6", "undecided"),
    ("2019,2020,2021/0.09,62.5,1", "undecided"), ("2019,2020/2021,2022", "data"), ("2019,2020", "data"),
    ("ann,1,2,3/bob,5,3,1", "undecided"), ("city,2019,2020,2021", "undecided"),
    (",2016,2017/07-01 00,30.5,18.0", "header"), (",0,1,2/0,5,6,7/2,8,9,4/4,8,9,4", "undecided"),
    (",10,20,30/7,5,6,7/3,8,9,4", "undecided"), (",2016/7,5", "undecided"), (",2016,2017", "data"),
    (",2016,2017/7,5,6/,5,6", "data"), (",2016,20.5/7,5,6", "data"), ("2,,0/6,7,8/9,1,2", "data"),
    ("NA,1,2/3,4,5", "data"), ("120,121/0,0/10,10", "data"), ("121,122/0,0/10,10", "undecided"),
    ("city,-1,-2/Rome,5,7", "undecided"), ("id,0.5,0.9/1,2,3/2,4,5", "undecided"), ("id,5,9/1,2,3/2,4,5", "header"),
    ("missing,10.5,20/1,2,3", "data"), ("1 234,10.5,20/1,2,3/4,5,6", "undecided"), ("a,b/red,green", "header"),
    ("0,1,2/5,6,7", "undecided"), ("city,2019,2020/Rome,1,2", "header"),
    ("Rome,1,2/Oslo,2,3", "undecided"), ("Rome,3,4/Oslo,0.5,0.7", "undecided"),
    ("city,2019,2020,2021/Rome,1,2,3/Oslo,2,3,4", "header"), ("red,5,9/red,7,8", "data"),
)


def check_first_line():
    """That first_line says of plain examples what is expected of them."""
    for lines, verdict in FIRST_LINE_EXAMPLES:
        found = first_line([cells_of(line) for line in lines.split("/")])
        if found != verdict:
            raise AssertionError(f"{lines}: {found}, expected {verdict}")


def find_column(name, names, width):
    """`names`: of the header; None without one."""
    name = name.encode().decode("latin-1")  # as lines_of
    names = names or []
    if names.count(name) == 1:
        return names.index(name)
    if names.count(name) > 1:
        raise Malformed(f"two columns are named {name}")
    if not re.fullmatch("[0-9]+", name) or int(name) >= width:
        raise Malformed(f"no column {name}")
    if any(re.fullmatch("[0-9]+", other) for other in names):
        raise Malformed(f"{name} may be a name or a position")
    return int(name)


def find_columns(job, names, width):
    """(those of the inputs, those of the targets)."""
    halves = [[find_column(name, names, width) for name in half] for half in (job.inputs, job.targets)]
    together = [halves[0] + halves[1]] if job.window == 1 else halves
    if any(len(set(columns)) != len(columns) for columns in together):
        raise Malformed("a column is named twice")
    return halves


def judged_rows(lines):
    """Cells of the lines that the first one is judged by."""
    rows, length = [], -len(lines[0]) - 1
    for line in lines:
        if length >= FIRST_BYTES:
            break
        rows.append(cells_of(line))
        length += len(line) + 1
    return rows


def read_csv(data, job, truth):
    """`truth`: (content, its rows of cells, whether the first of them is a header) as it was written, if it was not
    damaged: then nothing is judged here."""
    data, may_be_refused = content_of(data)
    if data == truth[0]:
        rows, is_header = truth[1:]
        if job.header in (None, "AUTO") and first_line(rows) == "undecided":
            raise Undecided("the first line")
    else:
        lines = lines_of(data)
        rows = [cells_of(line) for line in lines]
        verdict = first_line(judged_rows(lines))
        if job.header in (None, "AUTO") and verdict == "undecided":
            raise Undecided("the first line")
        is_header = verdict == "header"
    if job.header in ("YES", "NO"):
        is_header = job.header == "YES"
    return read_rows(rows, is_header, job, may_be_refused)


def read_rows(rows, is_header, job, may_be_refused):
    width = len(rows[0])
    if any(len(row) != width for row in rows):
        raise Malformed("lines of different lengths")
    inputs, targets = find_columns(job, [cell.text for cell in rows[0]] if is_header else None, width)
    if is_header and any(is_header_again(row, rows[0]) for row in rows[1:]):
        raise Malformed("the header once more")
    numbers = [[number_in(row[column].text) for column in inputs + targets] for row in rows[is_header:]]
    for row in numbers:
        for number in row:
            if number is None:
                raise Malformed("a cell is not a number")
            float_bits(number)
        if job.classes and not (row[-1] == math.floor(row[-1]) and 0 <= row[-1] < job.classes):
            raise Malformed(f"{row[-1]} is no class")
    offset = job.window if job.window > 1 else 0
    if len(numbers) <= offset:
        raise Malformed("too few rows")
    held_out = held_out_of(job.held_out, len(numbers) - offset)
    slack = scale(numbers, len(numbers) - held_out, job) if job.standardize else None
    return cut_examples(numbers, len(inputs), offset, held_out, slack, job, may_be_refused)


def scale(rows, training, job):
    """Mean 0 and standard deviation 1 of the first `training` rows in every column; returns how much a result may be
    off by rounding of numbers that are large beside their deviation."""
    slack = []
    for i in range(len(rows[0])):
        if job.classes and i == len(rows[0]) - 1:
            slack.append(None)
            continue
        column = [row[i] for row in rows[:training]]
        mean, deviation = column[0], 1
        if any(value != mean for value in column):
            mean = math.fsum(column) / training
            deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in column) / training)
        for row in rows:
            row[i] = (row[i] - mean) / deviation
        slack.append(1e-14 * max(map(abs, column)) / deviation * training)
    return slack


def cut_examples(numbers, inputs, offset, held_out, slack, job, may_be_refused):
    steps = max(offset, 1)
    bits = [[float_bits(number) for number in row] for row in numbers]
    if job.classes:
        for row in bits:
            row[-1] = f"{int(struct.unpack('>f', bytes.fromhex(row[-1]))[0]):08x}"
    examples = [("".join("".join(row[:inputs]) for row in bits[at:at + steps]), "".join(bits[at + offset][inputs:]))
                for at in range(len(bits) - offset)]
    left = len(examples) - held_out
    targets = len(numbers[0]) - inputs
    arguments = (shape(steps=offset, features=inputs, outputs=job.classes or targets, classes=int(bool(job.classes))),
                 examples[:left], examples[left:], may_be_refused)
    if slack is None:
        return Reading(*arguments)
    return ScaledReading(*arguments, slack=slack[:inputs] * steps + slack[inputs:])
