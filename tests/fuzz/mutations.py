"""Makes data files, most of them damaged: valid ones of every kind, mutations, and what a job would ask of them."""

import copy
import gzip
import io
import math
import struct
import zlib

import reference

READERS = ("csv", "text", "idx", "gzip")
BOMBS = 0.004  # share of the gzipped files
LARGE = 0.004  # share of the files that are longer than the blocks in which files are read


def how_many(rng, small, large):
    """At most one of `small`, or in a few files of the order of `large`."""
    if rng.random() < LARGE:
        return rng.randint(large // 4, large)
    return rng.randint(1, rng.choice(small))


class Case:
    """Files, what a job asks of them, and what is to be read."""

    def __init__(self, number, reader, source):
        self.name = f"f{number:05d}"
        self.reader = reader
        self.source = source  # "csv", "text" or "idx"
        self.files = {}  # content by name; the first is the one that was damaged
        self.damage = False
        self.held_out = -1  # examples; -1: all but one
        self.header, self.inputs, self.targets = "AUTO", [], []  # of a table
        self.window, self.classes, self.standardize = 1, 0, False
        self.truth = None, None, None  # of a table as it was written, for reference.read_csv
        self.length = 1  # of a text's sequence
        self.first, self.count = 0, None  # of IDX

    def job(self):
        """A line for read_data."""
        return f"{self.held_out} {self.spec_text()}"

    def spec_text(self):
        names = list(self.files)
        if self.source == "csv":
            columns = "".join(f' inputs: "{name}"' for name in self.inputs)
            columns += "".join(f' targets: "{name}"' for name in self.targets)
            header = f" header: HEADER_{self.header}" if self.header else ""
            window = f" window: {self.window}" if self.window > 1 else ""
            classes = f" classes: {self.classes}" if self.classes else ""
            scaled = " standardize: true" if self.standardize else ""
            return f'batch_size: 1 csv {{ path: "{names[0]}"{columns}{header}{window}{classes}{scaled} }}'
        if self.source == "text":
            return f'batch_size: 1 text {{ path: "{names[0]}" sequence_length: {self.length} }}'
        images, labels = sorted(names)
        part = f" first: {self.first}" + ("" if self.count is None else f" count: {self.count}")
        return f'batch_size: 1 idx {{ images: "{images}" labels: "{labels}"{part} }}'

    def read(self):
        """Reading, or reference.Malformed."""
        data = [self.files[name] for name in sorted(self.files)]
        if self.source == "csv":
            reading = reference.read_csv(data[0], self, self.truth)
        elif self.source == "text":
            reading = reference.read_text(data[0], self.length, self.held_out)
        else:
            reading = reference.read_idx(*data, self.first, self.count, self.held_out)
        if self.damage:
            reading.spoil()
        return reading

    def is_as_written(self):
        """Of a table: not damaged, so that what is in it is known without reading it."""
        try:
            return self.source == "csv" and reference.content_of(next(iter(self.files.values())))[0] == self.truth[0]
        except reference.Malformed:
            return False

    def is_loosely_packed(self):
        """Whether a file is gzipped as Python reads it and the product need not."""
        try:
            return any(reference.content_of(data)[1] for data in self.files.values())
        except reference.Malformed:
            return False

    def size(self):
        return sum(map(len, self.files.values()))

    def smaller(self):
        """Copies with a part of a file left out, or put plainly."""
        cases = []
        for name, content in self.files.items():
            length = max(len(content) // 2, 1)
            while True:
                for start in range(0, len(content), length):
                    smaller = copy.copy(self)
                    smaller.name = f"s{len(cases):05d}"
                    smaller.files = {f"{smaller.name}{other[other.index('.'):]}": data
                                     for other, data in self.files.items()}
                    own = f"{smaller.name}{name[name.index('.'):]}"
                    smaller.files[own] = content[:start] + content[start + length:]
                    cases.append(smaller)
                if length == 1 or len(cases) > 300:
                    break
                length //= 2
        return cases

    def shown(self):
        return f"{self.job()} {', '.join(repr(content[:400]) for content in self.files.values())}"


# Mutations of any bytes

TOKENS = {
    "csv": [b"nan", b"inf", b"-inf", b"1e39", b"-1e39", b"1e-50", b"1e400", b"3.4028235e38", b"3.4028236e38",
            b"0x10", b"0x1p3", b"1_000", b"1 000", b"1.5.2", b"+", b"-", b"+7", b".5", b"5.", b"1e", b"--1", b"+-1",
            b"'", b'"', b'""', b'"1"', b' "2"', b'"3" ', b'\t"4"', b'"5\n6"', b"\0", b"\r", b"\r\n", b"\n", b"\n\n",
            b"\r\r\n", b",", b",,", b";", b"\t", b" ", b"\v", b"\x0c", b"\x1a", b"\x1c", b"\x85", b"\xa0",
            b"\xef\xbb\xbf", b"\xff\xfe", b"\xe2\x80\xa9", b"\xc2\xa0", b"\xd9\xa1", b"#", b"NA", b"null", b"true",
            b"1,5", b"%", b"#N/A", b"PK\x03\x04", b"BZh91AY&SY", b"PAR1\x15", b"\n\x1a", b"sep=,\n", b"\x1b[31m",
            b"9" * 400, b"a" * 600],
    "text": [b"\0", b"\r\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xed\xb0\x80",
             b"\xf4\x90\x80\x80", b"\xf4\x8f\xbf\xbf", b"\xf8\x88\x80\x80\x80", b"\xe2\x82", b"\x80",
             b"\xe2\x80\xa8", b"\xf0\x9f\x98\x80", b"\xef\xbf\xbf", b"\xf0\x80\x80\x80", b"\xe0\x80\x80",
             b"\xc2\x80", b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"BZh91AY&SY"],
    "idx": [b"\0", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\x80\0\0\0", b"\0\1\0\0",
            b"\x7f\xc0\0\0", b"\x7f\x80\0\0", b"\x7f\xf0\0\0\0\0\0\0", b"\x47\xef\xff\xff\xf0\0\0\0", b"\x08",
            b"\x0d", b"\x0e", b"\x1f\x8b"],
    "gzip": [b"\0", b"\0" * 8, b"\x1f\x8b", b"\x1f\x8b\x08\0\0\0\0\0\0\x03", b"\xff\xff\xff\xff",
             gzip.compress(b"", mtime=0), gzip.compress(b"1,2\n", mtime=0)],
}


def flip_bit(rng, data, other, tokens):
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:]


def set_byte(rng, data, other, tokens):
    at = rng.randrange(len(data))
    return data[:at] + bytes([rng.choice((0, 1, 9, 10, 13, 32, 34, 44, 45, 46, 48, 57, 127, 128, 255))]) + data[at + 1:]


def insert(rng, data, other, tokens):
    at = rng.randint(0, len(data))
    return data[:at] + rng.choice(tokens) + data[at:]


def overwrite(rng, data, other, tokens):
    at, token = rng.randint(0, len(data)), rng.choice(tokens)
    return data[:at] + token + data[at + len(token):]


def delete(rng, data, other, tokens):
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 1, 2, 3, 8, 30)):]


def duplicate(rng, data, other, tokens):
    at, to = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
    return data[:to] + data[at:to] + data[to:]


def truncate(rng, data, other, tokens):
    return data[:rng.randrange(len(data))]


def splice(rng, data, other, tokens):
    return data[:rng.randint(0, len(data))] + other[rng.randint(0, len(other)):]


def replace_all(rng, data, other, tokens):
    old, new = rng.choice(((b"\r\n", b"\n"), (b"\n", b"\r\n"), (b"\n", b"\r"), (b",", b";"), (b",", b"\t"),
                           (b",", b", "), (b",", b" ,"), (b".", b","), (b"\n", b"\n\n"), (b"1", b"2"),
                           (b"\n", b" \n")))
    return data.replace(old, new)


def replace_one(rng, data, other, tokens):
    pieces = data.split(rng.choice((b",", b"\n", b".", b'"')))
    at = rng.randrange(len(pieces))
    return data if len(pieces) < 2 else data.replace(pieces[at], rng.choice(tokens), 1)


def swap_digits(rng, data, other, tokens):
    """Stays readable as a rule."""
    places = [at for at, byte in enumerate(data) if 48 <= byte <= 57]
    if not places:
        return data
    at = rng.choice(places)
    return data[:at] + bytes([rng.randint(48, 57)]) + data[at + 1:]


def replace_cell(rng, data, other, tokens):
    """Of a table; lines keep their lengths as a rule."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    cells = lines[at].split(b",")
    cells[rng.randrange(len(cells))] = rng.choice((rng.choice(tokens), number_text(rng).encode(), rng.choice(cells)))
    return b"\n".join(lines[:at] + [b",".join(cells)] + lines[at + 1:])


def set_element(rng, data, other, tokens):
    """Of IDX: an element, as a rule."""
    token = rng.choice([token for token in tokens if len(token) in (1, 2, 4, 8)])
    at = (len(data) - rng.randint(0, len(data))) // len(token) * len(token)
    return data[:at] + token + data[at + len(token):]


def set_type(rng, data, other, tokens):
    """Of IDX."""
    return data[:2] + bytes([rng.choice(list(reference.IDX_TYPES))]) + data[3:]


def set_size(rng, data, other, tokens):
    """Of IDX: sizes in another order, or a huge or wrong one."""
    rank = min(data[3] if len(data) > 3 else 1, 4)
    sizes = [data[at:at + 4] for at in range(4, 4 + 4 * rank, 4)]
    if rng.random() < 0.5:
        rng.shuffle(sizes)
    else:
        sizes[-1:] = [rng.choice((1, 2, 2 ** 16, 2 ** 30, 2 ** 31, 2 ** 32 - 1)).to_bytes(4, "big")]
    return data[:4] + b"".join(sizes) + data[4 + 4 * rank:]


MUTATIONS = (flip_bit, flip_bit, set_byte, insert, insert, overwrite, delete, duplicate, truncate, splice, replace_all,
             replace_one, swap_digits, swap_digits)
OWN_MUTATIONS = {"csv": 4 * (replace_cell,), "text": (), "idx": 3 * (set_element, set_type, set_size), "gzip": ()}


def mutate(rng, reader, data, other):
    """None in a tenth of the files, in more of the tables; one in most."""
    if reader == "csv" and rng.random() < 0.3:
        return data
    for _ in range(rng.choice((0, 1, 1, 1, 1, 1, 2, 2, 3, 4))):
        if data:
            data = rng.choice(MUTATIONS + OWN_MUTATIONS[reader])(rng, data, other, TOKENS[reader])
    return data


# Tables
#
# Every table is one whose first line a reader who knows tables could tell, or one that the product refuses as
# undecided. Not made are those that nobody can tell, since another table of the same look is the other thing:
# - names that are all plain numbers without quotes, but for 0, 1, 2, ..., which are undecided (so are 2019,2020 over
#   5,6, but not over 1900,1950);
# - numbers with points as names beside words over words (city,0.5,0.9 over Rome,1,2 looks as Iris-setosa,5.1,3.5 does);
# - a first row of words and whole numbers that happen to count and are far from all below (red,900,901 over blue,5,6
#   looks as city,2019,2020 does), the same behind an empty first cell, and names of the pattern of what is below (id1,7
#   over id2,9);
# - a first row with a mark of its own for what is missing (?,5 over 1,5), with an empty first cell over a column that
#   counts, without any number, or with quotes around numbers that have none below.

NAMES = ["x", "y", "price", "a b", "2019", "2020", "1", "0", "günther", "x", "width", 'say "hi"', "a,b", "nan", "1e5",
         "z"]
LETTERS = ["city", "country", "günther", "a b", "size of it", "Name", "a,b"]
MARKS = ["", "", "nan", "NaN", "NA", "n/a", "null", "None", "-inf", "Infinity"]


def number_text(rng):
    value = rng.choice((rng.randint(-9, 9), rng.randint(0, 100_000), rng.gauss(0, 1), rng.gauss(0, 1e6),
                        10 ** rng.uniform(-44, 38)))
    style = rng.choice(("{}", "{:.3f}", "{:e}", "{:+g}", "{:.17g}", "{:g}", "{:E}", "{:.0f}."))
    return style.format(value)


def word_maker(rng):
    """What makes a column of words, none of which stands over a column of numbers as a name would."""
    first = rng.randint(1, 9)
    return rng.choice((
        lambda row: rng.choice(("red", "green", "", "blau, hell")),
        lambda row: "".join(rng.choice("abcdefgh") for _ in range(6)).capitalize(),
        lambda row: f"2016-{row // 28 % 12 + 1:02}-{row % 28 + 1:02}",
        lambda row: f"{row % 28 + first}/{row // 28 % 12 + 1}/2016",
        lambda row: f"id{row:06}",
        lambda row: f"{rng.choice('ABC')}{rng.randint(0, 99)}",
        lambda row: f"10.0.{row % 256}.{rng.randint(0, 255)}"))


class Table:
    """As it is written: words first, then numbers."""

    def __init__(self, rng, width, classes):
        self.rng, self.width, self.classes = rng, width, classes
        self.words = rng.choice((0, 0, 0, 1, 2 if width > 2 else 0))
        self.is_quoted = False  # the names are, and no numbers
        self.rows = self._make_rows()
        self.is_index = self.words == 0 and width > 2 and rng.random() < 0.15  # of a pandas table, without a name
        if self.is_index:
            start = rng.choice((0, 0, 1))
            for row, cells in enumerate(self.rows):
                cells[0] = str(row + start)
        self.names = self._make_names() if self.is_index or rng.random() < 0.6 else None
        if len(self.rows) > 1 and rng.random() < 0.15:
            self._leave_out()
        if not self.names:
            self._stop_counting()
        self.lines = ([self.names] if self.names else []) + self.rows
        if self.names and rng.random() < 0.04:  # two files, one after the other
            self.lines.insert(rng.randint(1, len(self.lines)), self.names)
        # Where all names are numbers, quotes around all cells would leave nothing to tell them by.
        self.quotes = "words" if self.is_quoted else rng.choice(
            ("few", "few", "words", "all" if self._has_letters() else "few"))

    def _has_letters(self):
        return self.names is None or any(reference.kind_of(reference.Cell(name, True)) == "word" for name in self.names)

    def _make_rows(self):
        rng = self.rng
        integers = rng.random() < 0.3  # without a sign
        number = (lambda row: str(rng.randint(0, 9_999))) if integers else lambda row: number_text(rng)
        makers = [word_maker(rng) for _ in range(self.words)] + [number] * (self.width - self.words)
        if self.classes:
            makers[-1] = lambda row: str(rng.randrange(self.classes))
        return [[maker(row) for maker in makers] for row in range(how_many(rng, (2, 6, 40), 16_000))]

    def _make_names(self):
        rng, words, numbers = self.rng, self.words, self.width - self.words
        letters = rng.sample(LETTERS, self.width)
        kind = rng.choice(("plain", "plain", "any", "years", "years", "quantiles", "quoted", "positions"))
        year = rng.choice((0, 1, 1990, 2019))
        if kind == "any":  # a word over the last column, which has numbers
            return [rng.choice(NAMES) for _ in range(self.width - 1)] + ["width"]
        if kind == "years" and (words or (self.is_index and len(self.rows) > 1)):
            return ([""] if self.is_index else letters[:words]) + [
                str(year + i) for i in range(numbers - self.is_index)]
        if kind == "quantiles":
            if self.is_index and len(self.rows) > 1:
                return [""] + [f"0.{i + 1}" for i in range(numbers - 1)]
            return letters[:words + 1] + [f"0.{i + 1}" for i in range(numbers - 1)]
        if kind == "quoted" and not words:
            self.is_quoted = True
            return [str(year + i) for i in range(self.width)]
        if kind == "positions" and not words and self.width >= 3 and not self.is_index:
            return [str(i) for i in range(self.width)]
        names = [f"c{column}" for column in range(self.width)]
        if rng.random() < 0.02:
            names[rng.randrange(self.width)] = "long name " * 60
        return ([""] + names[1:]) if self.is_index else names

    def _stop_counting(self):
        """The first row is data, and does not look as years do."""
        first = self.rows[0]
        numbers = [i for i, text in enumerate(first) if reference.number_in(text) is not None]
        if len(numbers) > 1 and (self.words or first[0] == "") and reference.counts_up([first[i] for i in numbers]):
            first[numbers[0]] = "20000"

    def _leave_out(self):
        """Cells, in the first row or elsewhere; never all of a column, nor all numbers of the first row."""
        rng = self.rng
        for column in rng.sample(range(self.words, self.width), rng.randint(1, self.width - self.words - 1 or 1)):
            row = rng.choice((0, rng.randrange(len(self.rows))))
            numbers = range(self.words, self.width)
            is_last = [i for i in numbers if reference.number_in(self.rows[row][i]) is not None] == [column]
            if not is_last and (column > 0 or not self.is_index):
                self.rows[row][column] = rng.choice(MARKS)

    def _is_quoted(self, line, text):
        if "," in text or '"' in text:
            return True
        is_number = reference.number_in(text) is not None
        if self.quotes == "words":
            return not is_number and text != "" or (line == 0 and self.is_quoted)
        if self.quotes == "all":
            return True
        return self.rng.random() < 0.1 and not (is_number and line == 0 and not self.names)

    def write(self):
        """(bytes, rows of cells)."""
        rng, texts, cells = self.rng, [], []
        for line, row in enumerate(self.lines):
            quoted = [self._is_quoted(line, text) for text in row]
            if row is self.names and line > 0:  # once more
                quoted = [cell.quoted for cell in cells[0]]
            cells.append([reference.Cell(text.encode().decode("latin-1"), is_quoted)
                          for text, is_quoted in zip(row, quoted)])
            texts.append(",".join(cell_text(rng, *cell) for cell in zip(row, quoted)))
        for _ in range(rng.choice((0, 0, 0, 1, 3))):
            texts.insert(rng.randint(0, len(texts)), rng.choice(("", "", "  ")))
        end = rng.choice(("\n", "\n", "\r\n"))
        text = rng.choice(("", "", "", "\ufeff")) + end.join(texts) + rng.choice((end, end, ""))
        if rng.random() < 0.03:  # as programs of DOS end it
            text = text.rstrip("\r\n") + end + "\x1a" + rng.choice(("", end))
        return text.encode(), cells


def cell_text(rng, text, is_quoted):
    if is_quoted:
        text = '"' + text.replace('"', '""') + '"'
    if rng.random() < 0.05:
        text = " " * rng.randint(0, 2) + text + " " * rng.randint(0, 1)
    return text


def make_csv(rng, case):
    width = rng.randint(2, 5)
    classes = rng.choice((0, 0, 0, 0, 2, 5))
    table = Table(rng, width, classes)
    names, texts = table.names, table.words
    numbers = range(texts if width - texts > 1 and rng.random() < 0.9 else 0, width)
    places = rng.sample(numbers, rng.randint(2, len(numbers)))
    if classes:  # in the last column
        places = [place for place in places if place != width - 1] + [width - 1]
    columns = [str(place) for place in places]
    if names and rng.random() < (0.9 if any(map(reference.is_plain_integer, names)) else 0.3):
        columns = [names[place] if '"' not in names[place] and len(names[place]) < 100 and names[place] else str(place)
                   for place in places]
    split = rng.randint(1, len(columns) - 1)
    if classes and rng.random() < 0.95:
        split, case.classes = len(columns) - 1, max(2, classes + rng.choice((0, 0, 0, 1, -1)))
    case.inputs, case.targets = columns[:split], columns[split:]
    case.header = rng.choice((None, "AUTO", "AUTO", "AUTO", "YES", "NO" if rng.random() < 0.2 or not names else "YES"))
    if rng.random() < 0.2:
        case.window = rng.randint(2, 5)
        if rng.random() < 0.3 and not case.classes:
            case.targets = case.inputs[:]  # a series that is to be told from itself
    case.standardize = rng.random() < 0.2 and len(table.rows) <= 40
    if case.standardize or rng.random() < 0.3:
        case.held_out = rng.randint(0, rng.choice((2, len(table.rows) // 2 + 1)))
    content, cells = table.write()
    case.truth = content, cells, names is not None
    return content, Table(rng, width, 0).write()[0]


# Texts

SCRIPTS = ["abcdefghij \n", "The quick brown fox jumps over the lazy dog.\r\n", "äöüß éàçñ", "Привет, мир", "日本語テキスト漢字",
           "שלום עולם", "مرحبا", "😀🚀👩‍💻", "\x01\x7f\x80ÿ", "\ufeff\u2028\u202e", "\uffff\U0010ffff\ud7ff\ue000"]


def choose_windows(rng, case, content):
    """Mostly shorter than the text."""
    if rng.random() < 0.5:
        case.length = rng.randint(1, rng.choice((3, 10, max(1, len(content) // 3))))
        case.length = min(case.length, 50)
    if case.length > 1 or rng.random() < 0.3:
        case.held_out = rng.randint(0, rng.choice((1, 3, max(1, len(content) // (3 * case.length)))))


def make_text(rng):
    script = "".join(rng.sample(SCRIPTS, rng.choice((1, 1, 2, 3))))
    text = "".join(rng.choice(script) for _ in range(1 + how_many(rng, (4, 60, 400), 300_000)))
    return (rng.choice(("", "", "\ufeff")) + text).encode()


# IDX

EXTREMES = {"f": [0.0, -0.0, 1e-45, 3.4028234663852886e38, -1.5], "d": [0.0, 1e-320, 3.4028235e38, 1 / 3, -1e38]}


def idx_file(letter, sizes, elements):
    kind = {letter: kind for kind, letter in reference.IDX_TYPES.items()}[letter]
    start = bytes([0, 0, kind, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)
    return start + struct.pack(f">{len(elements)}{letter}", *elements)


def make_images(rng, examples):
    letter = rng.choice("BBbhifd")
    sizes = [examples] + [rng.randint(1, 4) for _ in range(rng.randint(0, 3))]
    if letter in "fd":
        elements = [rng.choice(EXTREMES[letter]) if rng.random() < 0.1 else rng.gauss(0, 10)
                    for _ in range(math.prod(sizes))]
    else:
        bits = 8 * struct.calcsize(letter)
        low = 0 if letter == "B" else -2 ** (bits - 1)
        elements = [rng.randint(low, low + 2 ** bits - 1) for _ in range(math.prod(sizes))]
    return idx_file(letter, sizes, elements)


def make_labels(rng, examples):
    letter = rng.choice("BBBbhi")
    most = rng.choice((1, 9, 100, 65_535)) if letter == "i" else rng.choice((1, 9, 100))
    return idx_file(letter, [examples], [rng.randint(0, most) for _ in range(examples)])


def make_idx(rng, case):
    """(images, labels)."""
    examples = how_many(rng, (2, 10, 40), 40_000)
    if rng.random() < 0.2:
        case.first = rng.randint(0, examples - 1)
        case.count = rng.choice((None, rng.randint(1, examples - case.first)))
    if rng.random() < 0.3:
        case.held_out = rng.randint(0, examples)
    return make_images(rng, examples), make_labels(rng, examples)


# gzip


def gzip_member(rng, content):
    """A member with a header of any kind; now and then one that nobody should accept."""
    flags = rng.choice((0, 0, 8, 16, 24, 4, 30, 31)) | (0x20 if rng.random() < 0.02 else 0)
    header = struct.pack("<2sBBIBB", b"\x1f\x8b", 8, flags, rng.getrandbits(32), rng.choice((0, 2, 4)),
                         rng.choice((3, 255)))
    if flags & 4:
        extra = rng.randbytes(rng.randint(0, 20))
        header += struct.pack("<H", len(extra)) + extra
    if flags & 8:
        header += rng.choice((b"table.csv", b"", "naïve".encode("latin-1"))) + b"\0"
    if flags & 16:
        header += b"a comment\0"
    if flags & 2:
        header += struct.pack("<H", zlib.crc32(header) & 0xffff ^ (1 if rng.random() < 0.1 else 0))
    deflate = zlib.compressobj(rng.choice((0, 1, 6, 9)), zlib.DEFLATED, -rng.randint(9, 15))
    packed = deflate.compress(content) + deflate.flush()
    checksum, length = zlib.crc32(content), len(content)
    if rng.random() < 0.02:
        checksum ^= 1 << rng.randrange(32)
    if rng.random() < 0.02:
        length += 1
    return header + packed + struct.pack("<II", checksum, length)


def pack(rng, content):
    """`content` as members, some of them empty, some of them cut anywhere."""
    out = io.BytesIO()
    while rng.random() < 0.3:
        at = rng.randint(0, len(content))
        out.write(gzip_member(rng, content[:at]))
        content = content[at:]
    out.write(gzip_member(rng, content))
    out.write(rng.choice((b"",) * 30 + (b"\0", b"\0" * 512, b"x", b"\n", b"\x1f\x8b")))
    return out.getvalue()


def make_packed(rng, case):
    """Half of the files are damaged before they are packed, the other half after that: most of those are refused, since
    their checksums are wrong."""
    if case.source == "csv":
        content, other = make_csv(rng, case)
    elif case.source == "text":
        content, other = make_text(rng), make_text(rng)
        choose_windows(rng, case, content)
    else:
        content, other = make_idx(rng, case)
    labels = other
    if rng.random() < BOMBS:  # a small file that is to take a lot of memory
        return pack(rng, content + (b"x" * (24 << 20) if case.source == "csv" else bytes(32 << 20))), labels
    if rng.random() < 0.5:
        packed = pack(rng, mutate(rng, case.source, content, other))
    else:
        packed = mutate(rng, "gzip", pack(rng, content), pack(rng, other))
    return packed, labels


def make_case(reader, rng, number):
    source = reader if reader != "gzip" else rng.choice(("csv", "text", "idx"))
    case = Case(number, reader, source)
    if reader == "gzip":
        content, labels = make_packed(rng, case)
    elif reader == "csv":
        content, other = make_csv(rng, case)
        content = mutate(rng, reader, content, other)
    elif reader == "text":
        content = make_text(rng)
        choose_windows(rng, case, content)
        content = mutate(rng, reader, content, make_text(rng))
    else:
        content, labels = make_idx(rng, case)
        damaged = rng.choice(("images", "images", "labels"))
        if damaged == "images":
            content = mutate(rng, reader, content, make_images(rng, rng.randint(1, 10)))
        else:
            labels = mutate(rng, reader, labels, make_labels(rng, rng.randint(1, 10)))
    if source == "idx":
        case.files = {f"{case.name}.a_images": content, f"{case.name}.b_labels": labels}
    else:
        case.files = {f"{case.name}.{source}": content}
    return case
