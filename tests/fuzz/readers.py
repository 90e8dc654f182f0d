#!/usr/bin/python3
"""Reads thousands of damaged data files with the product and with a reader of its own, and compares.

Every file is a valid one, made afresh, with up to four mutations. read_data (read_data.cc) says what the product makes
of it; reference.py says what an honest reader makes of it: values, or why there are none. Of a table that was not
damaged, what was written says it. It fails if the product

  - crashes, hangs, or a sanitizer speaks;
  - gives values where there are none, or other values, in any bit;
  - says other things when it reads than when it checks, in any word;
  - gives an error that is not one short line of printable UTF-8 which names the file or a field;
  - refuses a file that can be read, or calls a first line undecided that can be told;
  - takes more memory than MOST_MEMORY.

The smallest file of every kind of failure is kept (--keep), with a note. Python's standard library is all it needs.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import resource
import subprocess
import sys
import tempfile
import threading
import unicodedata

import mutations
import reference

BATCH = 250
BATCH_SECONDS = 120  # takes a few, under a sanitizer
LONGEST_MESSAGE = 500  # bytes; where it is about columns, of each of them
UNDECIDED = "may be a header or data"
MOST_MEMORY = 256 << 20  # resident; the longest files and what is printed of them take some 150 MiB
MOST_MEMORY_SANITIZED = 1 << 30  # freed memory is kept for a while
ADDRESS_SPACE = 1 << 30
LEAST_READ = 0.10  # of all files; with fewer, little would be compared
SHRINKING_ROUNDS = 40
# Errors of these fields are about what the spec says of the file, and need not name it.
FIELDS_OF_SPECS = ("csv.inputs", "csv.targets", "idx.labels", "idx.first", "idx.count", "text.sequence_length")


class Program:
    """read_data, and the most memory that it took."""

    def __init__(self, path):
        self.path, self.peak = path, 0
        self.is_sanitized = b"__asan_init" in pathlib.Path(path).read_bytes()
        self.most = MOST_MEMORY_SANITIZED if self.is_sanitized else MOST_MEMORY

    def run(self, folder, jobs, out, err):
        """Its exit status, or "time-out"."""
        # Address space, so that memory that is asked for and never used counts too; a sanitizer reserves terabytes.
        limit = None if self.is_sanitized else lambda: resource.setrlimit(resource.RLIMIT_AS, 2 * (ADDRESS_SPACE,))
        with tempfile.TemporaryFile() as lines:
            lines.write(jobs.encode()), lines.seek(0)
            process = subprocess.Popen([self.path, folder], stdin=lines, stdout=out, stderr=err, preexec_fn=limit)
            timer = threading.Timer(BATCH_SECONDS, process.kill)
            timer.start()
            _, status, usage = os.wait4(process.pid, 0)
            in_time = timer.is_alive()
            timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        self.peak = max(self.peak, usage.ru_maxrss << 10)
        return process.returncode if in_time else "time-out"


def run_batch(program, folder, cases):
    """The answer to every case: a dictionary; {"crash": ...} of a file at which the program ended."""
    answers = []
    while len(answers) < len(cases):
        jobs = "".join(case.job() + "\n" for case in cases[len(answers):])
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            how = program.run(folder, jobs, out, err)
            out.seek(0), err.seek(0)
            whole = out.read().split(b"\n")[:-1]
            report = err.read().decode(errors="replace")
        answers += [json.loads(line) for line in whole]
        if len(answers) < len(cases):
            answers.append({"crash": f"ended with {how}\n{report[-6000:]}"})
        elif how != 0:  # at its end: a leak
            answers[-1] = {"crash": f"ended with {how}\n{report[-6000:]}"}
    return answers


def write_files(folder, cases):
    for case in cases:
        for name, content in case.files.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)


def remove_files(folder, cases):
    for case in cases:
        for name in case.files:
            os.remove(os.path.join(folder, name))


def what_is_wrong_with(message, case):
    """Of an error's text; empty if nothing."""
    try:
        text = message.decode("utf-8")
    except UnicodeDecodeError:
        return "an error that is not UTF-8"
    if any(unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs") for c in text):
        return "an error with control characters or line ends"
    about = len(case.inputs + case.targets) if text.startswith(("csv.inputs", "csv.targets")) else 1
    if len(message) > LONGEST_MESSAGE * about:
        return "an error that is too long"
    if not any(name in text for name in case.files) and not text.startswith(FIELDS_OF_SPECS):
        return "an error that names neither file nor field"
    return ""


def judge(case, answer):
    """(class, details): "read", "refused", "refused as told", "refused as undecided", or a failure "FAILED: ..."."""
    try:
        want, why = case.read(), None
    except reference.Malformed as error:
        want, why = None, error
    if "crash" in answer:
        return "FAILED: crash", answer["crash"]
    if "disagreement" in answer:
        return "FAILED: reading and checking disagree", bytes.fromhex(answer["disagreement"]).decode(errors="replace")
    if "error" in answer:
        return judge_error(case, answer, want, why)
    if want is None:
        return "FAILED: malformed and read", f"malformed: {why or repr(why)}; read: {str(answer)[:2000]}"
    different = want.differs(answer)
    kind = "as written" if case.is_as_written() else ""
    if different:
        return f"FAILED: read wrongly {kind}".rstrip(), different[:2000]
    return f"read {kind}".rstrip(), ""


def judge_error(case, answer, want, why):
    message = bytes.fromhex(answer["error"])
    shown = message.decode(errors="replace")
    # How many examples there are is known, of IDX, before all of them are read: other faults may not be found then.
    is_out_of_range = isinstance(why, reference.OutOfRange) or (
        want is None and case.held_out > 0 and shown.startswith("must be below the number of examples"))
    wrong = "" if is_out_of_range else what_is_wrong_with(message, case)
    codes = ("INVALID_ARGUMENT",)
    if is_out_of_range:
        codes = ("OUT_OF_RANGE", "INVALID_ARGUMENT") if case.is_loosely_packed() else ("OUT_OF_RANGE",)
    if wrong or answer["code"] not in codes:
        return "FAILED: " + (wrong or "an error with the code " + answer["code"]), shown
    if why is not None and case.is_loosely_packed():
        return "refused as told", shown
    is_undecided = isinstance(why, reference.Undecided)
    if is_undecided != (UNDECIDED in shown) and (want is not None or case.is_as_written()):
        return "FAILED: " + ("another error than an undecided first line" if is_undecided else
                             "undecided without need"), shown
    if want is None:
        return ("refused as undecided" if is_undecided else "refused"), shown
    return ("refused as told" if want.may_be_refused else "FAILED: refused though readable"), shown


def shrink(program, folder, case, outcome):
    """The smallest case that it finds by leaving out parts, with the same outcome."""
    for _ in range(SHRINKING_ROUNDS):
        smaller = case.smaller()
        write_files(folder, smaller)
        answers = run_batch(program, folder, smaller)
        remove_files(folder, smaller)
        fitting = [c for c, answer in zip(smaller, answers) if judge(c, answer)[0] == outcome]
        if not fitting:
            break
        case = min(fitting, key=lambda c: c.size())
    return case


class Tally:
    """What became of the files of one reader."""

    def __init__(self, reader):
        self.reader = reader
        self.counts = collections.Counter()
        self.worst = {}  # the smallest case and its details, by failure

    def add(self, case, outcome, details):
        self.counts[outcome] += 1
        if outcome.startswith("FAILED"):
            kept = self.worst.get(outcome)
            if kept is None or case.size() < kept[0].size():
                self.worst[outcome] = (case, details)

    def problems(self):
        files = sum(self.counts.values())
        read = sum(count for outcome, count in self.counts.items() if outcome.startswith("read"))
        found = [f"{outcome[8:]}: {self.counts[outcome]}" for outcome in sorted(self.worst)]
        if read < LEAST_READ * files:
            found.append(f"only {read} of {files} were read: too few for a comparison")
        return found

    def report(self):
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.counts.items()))
        print(f"{self.reader}: {sum(self.counts.values())} files: {counts}")
        for outcome, (case, details) in sorted(self.worst.items()):
            print(f"  {outcome}: {details}\n    {case.shown()}")
        for problem in self.problems():
            print(f"  NOT OK: {problem}")


def check(reader, options, program, folder):
    rng = random.Random(f"{options.seed} {reader}")
    tally = Tally(reader)
    for first in range(0, options.files, BATCH):
        cases = [mutations.make_case(reader, rng, number)
                 for number in range(first, min(first + BATCH, options.files))]
        for case in cases:
            case.damage = options.damage_reference
        write_files(folder, cases)
        for case, answer in zip(cases, run_batch(program, folder, cases)):
            tally.add(case, *judge(case, answer))
        remove_files(folder, cases)
    for outcome, (case, details) in list(tally.worst.items()):
        smallest = case if options.damage_reference else shrink(program, folder, case, outcome)
        write_files(folder, [smallest])
        details = judge(smallest, run_batch(program, folder, [smallest])[0])[1]
        tally.worst[outcome] = (smallest, details)
        if options.keep:
            keep(options.keep, reader, outcome, smallest, details)
    tally.report()
    return not tally.problems()


def keep(folder, reader, outcome, case, details):
    place = pathlib.Path(folder, f"{reader}-{outcome[8:]}".replace(" ", "_"))
    place.mkdir(parents=True, exist_ok=True)
    write_files(str(place), [case])
    (place / "note.txt").write_text(f"{outcome}\n{case.job()}\n{details}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--read_data", required=True, help="the program of that name in a build's bin folder")
    parser.add_argument("--reader", choices=mutations.READERS, help="only this one")
    parser.add_argument("--files", type=int, default=500, help="of each reader (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="other seeds make other files (default: %(default)s)")
    parser.add_argument("--keep", metavar="DIR", help="where the smallest file of every failure is left")
    # Shifts a bit of what is expected of every file: a check that passes then checks nothing.
    parser.add_argument("--damage_reference", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    reference.check_first_line()
    good, program = True, Program(options.read_data)
    for reader in [options.reader] if options.reader else mutations.READERS:
        with tempfile.TemporaryDirectory(prefix="gradwatch.") as folder:
            good = check(reader, options, program, folder) and good
    print(f"seed {options.seed}; largest memory of read_data: {program.peak >> 20} MiB")
    if program.peak > program.most:
        print(f"  NOT OK: more memory than {program.most >> 20} MiB")
        good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
