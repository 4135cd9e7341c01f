"""How often workers make what they keep, also in steps that use several values and that Beam runs as one."""

import gc
import pickle
import weakref
from collections import Counter
from pathlib import Path

import apache_beam as beam
from apache_beam.testing.util import assert_that, equal_to

from components.once_per_worker import OncePerWorker, let_go


class Number:
    def __init__(self, value: int):
        self.value = value


class Add(beam.DoFn):
    """Adds 10 and 100, each of which it notes as a line of a file when it is made."""

    def __init__(self, notes: Path):
        self._notes = notes
        self._ten, self._hundred = OncePerWorker[Number](), OncePerWorker[Number]()

    def process(self, element: int):
        ten, hundred = self._ten.get(lambda: self._made(10)), self._hundred.get(lambda: self._made(100))
        yield element + ten.value + hundred.value

    def _made(self, value: int) -> Number:
        with open(self._notes, "a") as file:
            file.write(f"{value}\n")
        return Number(value)


def test_two_values_of_each_of_two_fused_steps_are_made_once(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    with beam.Pipeline() as pipeline:
        numbers = pipeline | beam.Create([1, 2, 3]) | "One" >> beam.ParDo(Add(one)) | "Other" >> beam.ParDo(Add(other))
        assert_that(numbers, equal_to([221, 222, 223]))
    assert [Counter(notes.read_text().split()) for notes in (one, other)] == [{"10": 1, "100": 1}] * 2


def test_other_processes_do_not_get_the_value_but_make_it():
    here = OncePerWorker[Number]()
    assert here.get(lambda: Number(1)) is here.get(lambda: Number(2))
    sent = pickle.dumps(here)
    assert len(sent) < 300 and pickle.loads(sent)._value is None


def test_after_a_job_its_values_can_be_let_go():
    here = OncePerWorker[Number]()
    number = weakref.ref(here.get(lambda: Number(1)))
    del here
    gc.collect()
    assert number() is not None
    let_go()
    assert number() is None
