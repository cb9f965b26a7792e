"""What large simulations stand on: equal pages kept once, and what a page cache spares the platter."""

from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.faults.disk import DiskSpeed
from runtime.simulated.page_cache import PAGE_BYTES, PageCache
from runtime.simulated.shared_pages import PagePool
from runtime.simulated.world import Simulation

PAGE = bytes(range(256)) * (PAGE_BYTES // 256)
PLACES = st.integers(0, 3 * PAGE_BYTES)
BYTES = {"page": PAGE, "nearly": PAGE[:-1], "two": 2 * PAGE, "zeros": bytes(PAGE_BYTES + 5), "few": b"few", "": b""}
PIECES = st.sampled_from(sorted(BYTES))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), PLACES, PIECES),
        st.tuples(st.just("set"), PLACES, st.integers(0, 255)),
        st.tuples(st.just("shrink"), PLACES, st.integers(3, 1000)),
        st.tuples(st.just("extend"), PIECES),
        st.tuples(st.just("cut"), PLACES),
    ),
    max_size=12,
)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_a_shared_image_is_what_a_bytearray_would_be(steps):
    image, model = PagePool().image(), bytearray()
    for verb, *what in steps:
        for one in (image, model):
            if verb == "put" and what[0] <= len(one):
                one[what[0] : what[0] + len(BYTES[what[1]])] = BYTES[what[1]]
            elif verb == "set" and what[0] < len(one):
                one[what[0]] = what[1]
            elif verb == "shrink" and what[0] + what[1] <= len(one):
                one[what[0] : what[0] + what[1]] = b"few"
            elif verb == "extend":
                one.extend(BYTES[what[0]])
            elif verb == "cut":
                del one[what[0] :]
        assert len(image) == len(model) and image[:] == bytes(model)
    assert [image[place] for place in range(0, len(model), 999)] == [
        model[place] for place in range(0, len(model), 999)
    ]


def test_equal_pages_are_one_object_and_a_damaged_one_is_another():
    pool = PagePool()
    one, other = pool.image(), pool.image()
    one.extend(4 * PAGE)
    other.extend(2 * PAGE)
    assert {id(page) for page in one.pages} == {id(page) for page in other.pages}
    one[PAGE_BYTES] ^= 1
    assert one[PAGE_BYTES] != other[PAGE_BYTES] and pool.kept(one) == PAGE_BYTES


def test_a_power_cut_takes_from_shared_pages_what_was_not_synced():
    with Simulation(1, quiet=True) as simulation:
        world = simulation.add_node("a")
        world.simulated_disk.image = PagePool().image

        async def story():
            file = await world.disk.open("f", "create")
            await file.write_at(0, 2 * PAGE)
            await file.sync()
            await world.disk.sync_directory("")
            await file.write_at(PAGE_BYTES, b"unsynced")
            simulation.power_cut("a", loses_all=True)
            again = simulation.restart("a")
            return await (await again.disk.open("f", "read")).read_at(0, 1 << 20)

        assert simulation.run(story()) == 2 * PAGE


def seconds_of(*operations, cache_bytes=None):
    """Virtual seconds that each operation on a file of ten pages takes, on a disk that gives ten pages a second."""
    with Simulation(1) as simulation:
        world = simulation.add_node("a")

        async def story():
            file = await world.disk.open("f", "create")
            await file.write_at(0, bytes(10 * PAGE_BYTES))
            world.simulated_disk.speed = DiskSpeed(bytes_per_second=10 * PAGE_BYTES)
            if cache_bytes is not None:
                world.simulated_disk.page_cache = PageCache(cache_bytes)
            times = []
            for verb, offset, count in operations:
                began = simulation.loop.time()
                if verb == "read":
                    await file.read_at(offset * PAGE_BYTES, count * PAGE_BYTES)
                else:
                    await file.write_at(offset * PAGE_BYTES, bytes(count * PAGE_BYTES))
                times.append(round(simulation.loop.time() - began, 3))
            return times

        return simulation.run(story())


def test_what_was_read_before_is_free_until_others_have_taken_its_place():
    twice = [("read", 0, 2), ("read", 0, 2), ("read", 2, 4), ("read", 0, 2)]
    assert seconds_of(*twice) == [0.2, 0.2, 0.4, 0.2]
    assert seconds_of(*twice, cache_bytes=4 * PAGE_BYTES) == [0.2, 0.0, 0.4, 0.2]


def test_a_write_waits_for_nobody_and_the_next_read_for_the_platter():
    steps = [("write", 0, 3), ("read", 0, 3), ("read", 5, 1)]
    assert seconds_of(*steps, cache_bytes=8 * PAGE_BYTES) == [0.0, 0.0, 0.4]
    assert seconds_of(*steps) == [0.3, 0.3, 0.1]
