"""The queue with a clock of its own: nothing here sleeps or computes."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kipax.blocks.queue import QueueSettings, TaskQueue
from kipax.errors import PoolError

SETTINGS = QueueSettings(silence_seconds=10, stuck_seconds=100, overtake_seconds=1, ahead=4)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lost():
    return []


@pytest.fixture
def queue(clock, lost):
    queue = TaskQueue(SETTINGS, clock=clock, on_lost=lost.append)
    queue.join("a")
    queue.join("b")
    return queue


def _take_all(queue):
    results = []
    while True:
        done, result = queue.next_result(0)
        if not done:
            return results
        results.append(result)


def test_results_come_in_order(queue):
    queue.start(["one", "two", "three"])
    leases = [queue.lease(w) for w in "aba"]
    for lease in reversed(leases):
        assert queue.next_result(0) == (False, None)
        assert queue.answer(lease.number, lease.task.upper())
    assert _take_all(queue) == ["ONE", "TWO", "THREE"]
    assert queue.counts().counted == 3
    assert queue.lease("a") is None


def test_a_silent_worker_loses_its_tasks(queue, clock, lost):
    queue.start(["one"])
    first = queue.lease("a")
    clock.now = 9
    queue.hear("b")
    assert queue.task_of(first.number) == "one"
    clock.now = 11
    assert queue.counts().workers == 1
    again = queue.lease("b")
    assert again.task == "one"
    assert not queue.hear("a")
    assert not queue.answer(first.number, "late")
    assert queue.answer(again.number, "in time")
    assert not queue.answer(again.number, "twice")
    assert _take_all(queue) == ["in time"]
    counts = queue.counts()
    assert (counts.counted, counts.dropped, counts.retries, counts.lost) == (1, 2, 1, 1)
    assert lost == [
        "lost worker a, which was silent for 10 s",
        "one comes again: a was silent for 10 s",
    ]


def test_a_task_that_kills_three_workers_stops_the_run(queue, clock):
    queue.start(["poison", "other"])
    for number in range(3):
        name = f"victim {number}"
        queue.join(name)
        assert queue.lease(name).task == "poison"
        queue.lose(name, "died")
    with pytest.raises(PoolError, match="poison failed 3 times: victim 0 died; victim 1 died"):
        queue.next_result(0)


def test_what_only_waited_at_a_dead_worker_is_no_loss(queue):
    """It holds two, and computes one at a time."""
    queue.start(["poison", "behind"])
    for number in range(2):
        queue.join(f"victim {number}")
        assert [queue.lease(f"victim {number}").task for _ in "12"] == ["poison", "behind"]
        queue.lose(f"victim {number}", "died")
    queue.join("c")
    lease = queue.lease("c")
    assert lease.task == "poison"
    queue.answer(lease.number, "poison")
    assert queue.lease("c").task == "behind"
    queue.lose("c", "died")  # its first loss
    queue.join("d")
    queue.answer(queue.lease("d").number, "behind")
    assert _take_all(queue) == ["poison", "behind"]


def test_a_failure_comes_again_elsewhere(queue):
    queue.start(["one"])
    queue.fail(queue.lease("a").number, "no memory")
    assert queue.lease("b").task == "one"


def test_an_idle_worker_overtakes_once(queue, clock):
    queue.join("c")
    queue.start(["one"])
    first = queue.lease("a")
    assert queue.lease("b") is None
    clock.now = 1.5
    assert queue.lease("a") is None  # has it already
    second = queue.lease("b")
    assert second.task == "one"
    assert queue.lease("c") is None  # two have it
    assert queue.answer(second.number, "b")
    assert not queue.answer(first.number, "a")
    assert _take_all(queue) == ["b"]


def test_what_is_usual_is_not_overtaken(queue, clock):
    """Blocks of a minute lag after four."""
    queue.start(["one", "two"])
    first = queue.lease("a")
    for now in range(10, 70, 10):
        clock.now = now
        queue.hear("a"), queue.hear("b")
    queue.answer(first.number, 1)
    queue.lease("a")
    clock.now = 68
    assert queue.lease("b") is None


def test_a_stuck_lease_is_lost_though_its_worker_is_heard(queue, clock):
    queue.start(["one"])
    queue.lease("a")
    for now in range(5, 111, 5):
        clock.now = now
        queue.hear("a"), queue.hear("b")
    queue.expire()
    assert queue.lease("a").task == "one"


def test_results_do_not_pile_up(queue):
    """Eight tasks ahead of the first undone one (four a worker), and no more."""
    queue.start(list(range(20)))
    stuck = queue.lease("a")
    assert stuck.task == 0
    done = 0
    while (lease := queue.lease("b")) is not None:
        queue.answer(lease.number, lease.task)
        done += 1
    assert done == 7
    queue.answer(stuck.number, 0)
    assert _take_all(queue) == list(range(8))
    assert queue.lease("b").task == 8


def test_a_new_call_forgets_the_old_one(queue):
    queue.start(["old"])
    old = queue.lease("a")
    queue.start(["new"])
    assert queue.task_of(old.number) is None
    assert not queue.answer(old.number, "old")
    new = queue.lease("a")
    queue.answer(new.number, "new")
    assert _take_all(queue) == ["new"]


def test_leases_that_got_lost_on_the_way_come_back(queue):
    queue.start(["one", "two"])
    kept, _ = queue.lease("a"), queue.lease("a")
    queue.reconcile("a", [kept.number])
    assert queue.lease("a").task == "two"


def test_leaving_is_no_loss(queue, lost):
    queue.start(["one"])
    queue.lease("a")
    queue.leave("a")
    assert queue.lease("b").task == "one"
    assert queue.counts().lost == 0
    assert not lost


def test_strangers_get_nothing(queue):
    queue.start(["one"])
    assert queue.lease("stranger") is None


@given(st.data())
def test_every_task_counts_once_whatever_happens(data):
    """Random workers that answer, die, fail, repeat and come late."""
    clock = Clock()
    settings = QueueSettings(silence_seconds=10, overtake_seconds=1, most_losses=10**6, ahead=4)
    queue = TaskQueue(settings, clock=clock)
    total = data.draw(st.integers(0, 12))
    queue.start(list(range(total)))
    leases, results = [], []
    for turn in range(60):
        clock.now += data.draw(st.sampled_from([0.0, 0.7, 3.0, 11.0]))
        name = str(data.draw(st.integers(0, 3)))
        event = data.draw(st.sampled_from(["join", "lease", "answer", "fail", "lose", "leave"]))
        if event == "join":
            queue.join(name)
        elif event == "lease" and (lease := queue.lease(name)):
            leases.append(lease)
        elif event == "lose":
            queue.lose(name, "died")
        elif event == "leave":
            queue.leave(name)
        elif leases:
            lease = data.draw(st.sampled_from(leases))
            if event == "answer":
                queue.answer(lease.number, (lease.task, turn))
            else:
                queue.fail(lease.number, "failed")
        results += _take_all(queue)
    queue.join("last")
    while (lease := queue.lease("last")) is not None:
        queue.answer(lease.number, (lease.task, -1))
        results += _take_all(queue)
        clock.now += 1.0
        queue.hear("last")
    clock.now += 11
    queue.join("last")
    while (lease := queue.lease("last")) is not None:
        queue.answer(lease.number, (lease.task, -1))
        results += _take_all(queue)
    assert [task for task, _ in results] == list(range(total))
    assert queue.counts().counted == total


def test_threads():
    """Many threads, real time: nothing is lost or counted twice."""
    queue = TaskQueue(QueueSettings(overtake_seconds=0.01))
    queue.start(list(range(300)))
    stop = threading.Event()

    def work(name):
        queue.join(name)
        while not stop.is_set():
            lease = queue.lease(name, timeout=0.05)
            if lease is not None:
                queue.answer(lease.number, lease.task)
                queue.answer(lease.number, lease.task)

    threads = [threading.Thread(target=work, args=(str(i),)) for i in range(6)]
    for thread in threads:
        thread.start()
    results = []
    while len(results) < 300:
        done, result = queue.next_result(5)
        assert done
        results.append(result)
    stop.set()
    for thread in threads:
        thread.join()
    assert results == list(range(300))
    assert queue.counts().counted == 300
