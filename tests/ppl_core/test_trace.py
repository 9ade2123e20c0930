"""The stack of tracers: the order of calls, and the stack after errors."""

import threading

import pytest

from ppl_core.trace import forward, trace, traceable


@traceable
def double(x):
    return 2 * x


def logging_tracer(log, label):
    def tracer(fn, *args, **kwargs):
        log.append(label)
        return forward(fn, *args, **kwargs)

    return tracer


def test_without_a_tracer_the_function_runs_unchanged():
    assert double(3) == 6
    assert double.__name__ == "double"


def test_the_tracer_receives_the_call_and_returns_its_result():
    def tracer(fn, *args, **kwargs):
        return fn.__name__, args, kwargs

    with trace(tracer):
        assert double(3) == ("double", (3,), {})
        assert double(x=4) == ("double", (), {"x": 4})
    assert double(3) == 6


def test_the_innermost_tracer_sees_a_call_first_and_forwards_outwards():
    log = []
    with trace(logging_tracer(log, "outer")), trace(logging_tracer(log, "middle")):
        with trace(logging_tracer(log, "inner")):
            assert double(1) == 2
        assert log == ["inner", "middle", "outer"]
        log.clear()
        double(1)
        assert log == ["middle", "outer"]
    log.clear()
    double(1)
    assert log == []


def test_arguments_changed_by_the_inner_tracer_reach_the_outer():
    arguments = []

    def outer(fn, x):
        arguments.append(x)
        return forward(fn, x) + 1

    def inner(fn, x):
        return 10 * forward(fn, x + 100)

    with trace(outer), trace(inner):
        assert double(1) == 10 * (2 * 101 + 1)
    assert arguments == [101]


def test_calling_the_function_directly_hides_the_call_from_outer_tracers():
    log = []
    with trace(logging_tracer(log, "outer")), trace(lambda fn, x: fn(x)):
        assert double(1) == 2
    assert log == []


def test_a_tracer_may_forward_twice():
    log = []

    def twice(fn, x):
        return forward(fn, x) + forward(fn, x)

    with trace(logging_tracer(log, "outer")), trace(twice):
        assert double(1) == 4
    assert log == ["outer", "outer"]


def test_calls_inside_a_traceable_function_reach_only_outer_tracers():
    @traceable
    def quadruple(x):
        return double(double(x))

    log = []

    def record(fn, *args):
        log.append(fn.__name__)
        return forward(fn, *args)

    with trace(record):
        assert quadruple(1) == 4
    assert log == ["quadruple"]
    log.clear()
    with trace(record), trace(lambda fn, *args: fn(*args)):
        assert quadruple(1) == 4
    # Called directly, its own body runs under the outer tracer.
    assert log == ["double", "double"]


def test_a_block_that_raises_removes_its_tracer():
    log = []
    with pytest.raises(KeyError), trace(logging_tracer(log, "gone")):
        raise KeyError
    double(1)
    assert log == []


def test_a_function_that_raises_leaves_every_tracer_in_place():
    log = []

    @traceable
    def fail():
        raise KeyError

    with trace(logging_tracer(log, "outer")), trace(logging_tracer(log, "inner")):
        with pytest.raises(KeyError):
            fail()
        log.clear()
        double(1)
        assert log == ["inner", "outer"]


def test_a_tracer_that_raises_leaves_every_tracer_in_place():
    log = []

    def refuse(fn, *args):
        raise KeyError

    with trace(logging_tracer(log, "outer")):
        with trace(refuse):
            for _ in range(2):
                with pytest.raises(KeyError):
                    double(1)
        double(1)
    assert log == ["outer"]


def test_each_thread_has_a_stack_of_its_own():
    entered, leave = threading.Event(), threading.Event()
    log = []

    def other_thread():
        with trace(logging_tracer(log, "other")):
            entered.set()
            assert leave.wait(60)

    thread = threading.Thread(target=other_thread)
    thread.start()
    assert entered.wait(60)
    try:
        assert double(1) == 2  # the other thread's tracer does not see it
        with trace(logging_tracer(log, "mine")):
            double(1)
    finally:
        leave.set()
        thread.join()
    assert log == ["mine"]


def test_threads_do_not_pop_each_others_tracers():
    barrier = threading.Barrier(4)
    failures = []

    def work(label):
        log = []
        barrier.wait()
        for _ in range(200):
            log.clear()
            with trace(logging_tracer(log, label)), trace(logging_tracer(log, "in")):
                double(1)
            if log != ["in", label]:
                failures.append(log)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
