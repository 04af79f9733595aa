"""What every Python client does here: the records, the named checks, the members of a group."""

import json
import sys
import threading
import time
import traceback

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
CODEC_PARTITIONS = 2
GROUP_PARTITIONS = 4
RECORDS = 60
BEFORE, AFTER = 200, 100
# A machine five times slower than ours still keeps it.
DEADLINE = 120.0


def key(i):
    return None if i % 7 == 0 else b"k%d" % i


def value(codec, i):
    # Nulls are tombstones; the repetition makes it worth compressing.
    return None if i % 10 == 3 else ("%s %d " % (codec, i) + "reka" * 50).encode()


def headers(i):
    # The same name twice: headers are a list, not a map.
    return [("n", b"%d" % i), ("same", b"1"), ("same", b"2")]


def expected(codec, partition):
    """What a codec's partition holds, in order: offset, key, value, headers."""
    mine = [i for i in range(RECORDS) if i % CODEC_PARTITIONS == partition]
    return [(offset, key(i), value(codec, i), headers(i)) for offset, i in enumerate(mine)]


def group_values(start, count):
    return [b"group %d" % n for n in range(start, start + count)]


def same(found, wanted, what):
    if found != wanted:
        raise AssertionError("%s: expected %.300r, found %.300r" % (what, wanted, found))


def wait(what, condition, limit=DEADLINE):
    """Waits on a condition, at most for the deadline."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("not after %d s: %s" % (limit, what))
        time.sleep(0.02)


class Checks:
    """Runs checks by name and prints each as a line of JSON."""

    def __init__(self):
        self.failed = set()

    def report(self, name, error=None):
        line = {"check": name, "ok": error is None}
        if error is not None:
            self.failed.add(name)
            line["why"] = "%s: %s" % (type(error).__name__, error)
            traceback.print_exception(error, file=sys.stderr)
        print(json.dumps(line), flush=True)

    def run(self, name, step, after=None):
        """`after` names the check whose traces this one looks for: without them it would only tell
        the same finding again, in other words."""
        try:
            if after in self.failed:
                raise AssertionError("not tried, as `%s` failed" % after)
            step()
        except Exception as error:  # whatever a client raises is the finding
            self.report(name, error)
        else:
            self.report(name)

    def leave(self):
        sys.exit(1 if self.failed else 0)


class Member(threading.Thread):
    """A member of a group on a thread of its own: reads until told to stop, commits, and leaves
    when told to."""

    def __init__(self, make):
        super().__init__(daemon=True)
        self.make = make
        self.assigned = frozenset()
        self.seen = []
        self.error = None
        self.stopping = threading.Event()
        self.committed = threading.Event()
        self.leaving = threading.Event()
        self.start()

    def run(self):
        try:
            consumer = self.make()
            try:
                while not self.stopping.is_set():
                    self.seen.extend(consumer.poll())
                    self.assigned = frozenset(consumer.assigned())
                consumer.commit()
                self.committed.set()
                self.leaving.wait(DEADLINE)
            finally:
                consumer.close()
        except Exception as error:
            self.error = error
        finally:
            # Whoever waits for the commit learns about an error as well.
            self.committed.set()

    def check(self):
        if self.error is not None:
            raise self.error

    def leave(self):
        self.stopping.set()
        self.leaving.set()
        self.join(DEADLINE)
        self.check()
        if self.is_alive():
            raise AssertionError("a member did not leave after %d s" % DEADLINE)


def two_members(make, produce):
    """Two members share the partitions, and every record is seen by one of them, once."""
    members = [Member(make), Member(make)]

    def shared():
        for member in members:
            member.check()
        a, b = (member.assigned for member in members)
        return a and b and not a & b and len(a | b) == GROUP_PARTITIONS

    def all_seen():
        for member in members:
            member.check()
        return sum(len(member.seen) for member in members) >= BEFORE

    try:
        wait("two members share the partitions", shared)
        produce(0, BEFORE)
        wait("every record is seen", all_seen)
    finally:
        # Both commit before either leaves: a commit in the middle of a rebalance may be refused, and
        # partitions that are handed on before it are read twice.
        for member in members:
            member.stopping.set()
        for member in members:
            member.committed.wait(DEADLINE)
    for member in members:
        member.leave()
    same(sorted(members[0].seen + members[1].seen), sorted(group_values(0, BEFORE)), "records seen")
    for member in members:
        if not member.seen:
            raise AssertionError("a member saw nothing")


def resumes(make, produce):
    """A later member goes on where the group committed."""
    produce(BEFORE, AFTER)
    member = Member(make)

    def all_seen():
        member.check()
        return len(member.seen) >= AFTER

    try:
        wait("the new records are seen", all_seen)
    finally:
        member.leave()
    same(sorted(member.seen), sorted(group_values(BEFORE, AFTER)), "records seen after the restart")


class Static(threading.Thread):
    """A member with a name of its own, on a thread: it polls until it is told to go. `make` makes a
    consumer of a name: `poll`, `assigned`, `rebalances`, how often it was told what it has, and `close`,
    which does not leave the group."""

    def __init__(self, make, name):
        super().__init__(daemon=True)
        self.make = make
        self.name_in_group = name
        self.assigned = frozenset()
        self.rebalances = 0
        self.error = None
        self.stopping = threading.Event()
        self.start()

    def run(self):
        try:
            consumer = self.make(self.name_in_group)
            try:
                while not self.stopping.is_set():
                    consumer.poll()
                    self.assigned = frozenset(consumer.assigned())
                    self.rebalances = consumer.rebalances
            finally:
                consumer.close()
        except Exception as error:
            self.error = error

    def go(self):
        self.stopping.set()
        self.join(DEADLINE)

    def check(self):
        if self.error is not None:
            raise self.error


def static_members(make):
    """Who comes back under a name has its partitions again, and nobody else notices; a second of a name
    fences the first."""

    def double(members, back):
        members.append(Static(make, "a"))
        wait("the first of two of a name is fenced", lambda: back.error is not None)
        told = "%s: %s" % (type(back.error).__name__, back.error)
        same("fenced" in told.lower(), True, "the error is of fencing: %s" % told)

    _static_members(make, double)


def static_members_without_double(make):
    """The same for clients that go on trying when they are fenced."""
    _static_members(make, lambda members, back: None)


def _static_members(make, double):
    members = [Static(make, "a"), Static(make, "b")]
    try:
        a, b = members

        def shared():
            for member in members:
                member.check()
            return (len(a.assigned), len(b.assigned)) == (2, 2) and not a.assigned & b.assigned

        wait("two static members share the partitions", shared)
        before, rebalances = a.assigned, b.rebalances
        a.go()
        back = Static(make, "a")
        members.append(back)

        def has_them_again():
            back.check()
            return back.assigned == before

        wait("it has its partitions again", has_them_again)
        double(members, back)
        b.check()
        same(b.rebalances, rebalances, "rebalances of the other")
    finally:
        for member in members:
            member.go()
