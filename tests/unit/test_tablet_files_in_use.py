"""Which files a tablet says to be in use: what it refers to, and what is being read (BT 6)."""

from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.world.options import Options
from tablet.engine.world.storage import DiskStorage


def test_a_file_that_was_compacted_away_is_in_use_as_long_as_somebody_reads_it():
    """A scan was under way when the tablet was compacted for the last time. Long after it had ended, the file was still
    called in use, and whoever removes the files of others left it there."""

    async def story(world: SimulatedWorld) -> None:
        await world.disk.make_directory("t")
        engine = await Engine.open(DiskStorage(world.disk, "t"), world, Options(sync="fsync"))
        await engine.create_family("f")
        for number in range(2):
            await engine.put(b"row%d" % number, b"f:x", b"1")
            await engine.flush()
        read = engine.state.view
        names = {table.name for table in read.all_tables()}
        read.pins += 1
        await engine.compact()
        assert names <= engine.state.names_in_use()
        read.pins -= 1
        assert not names & engine.state.names_in_use()
        await engine.close()

    with Simulation(0, quiet=True) as simulation:
        simulation.run(story(simulation.add_node("desk")))
