"""Tasks end, even where a library in them swallows a cancellation."""

import asyncio

from service.ending import end


async def swallows(times: int) -> str:
    while times:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            times -= 1
    return "over"


def test_a_task_that_swallows_a_cancellation_is_ended_all_the_same() -> None:
    async def run() -> bool:
        task = asyncio.create_task(swallows(2))
        await asyncio.sleep(0)
        await end(task)
        return task.done()

    assert asyncio.run(run())


def test_failures_of_the_ended_tasks_are_their_own_affair() -> None:
    async def fails() -> None:
        raise RuntimeError("broken")

    async def run() -> None:
        task = asyncio.create_task(fails())
        await asyncio.sleep(0)
        await end(task, asyncio.create_task(swallows(1)))

    asyncio.run(run())
