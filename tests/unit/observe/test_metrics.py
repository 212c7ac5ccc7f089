"""The Prometheus page over a real socket."""

import asyncio
import socket

import pytest

from tether.errors import Reason, TetherError
from tether.observe import metrics


async def get(address: str, request: bytes = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") -> str:
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return answer.decode()


async def test_page_shows_the_registry_of_the_process() -> None:
    page = await metrics.open_page(0)
    answer = await get(page.address)
    await page.close()
    assert answer.startswith("HTTP/1.1 200")
    assert 'tether_build_info{version="' in answer
    assert "tether_rpc_failures_total" in answer or "python_info" in answer


async def test_services_of_one_process_share_the_page() -> None:
    first = await metrics.open_page(0)
    second, third = await asyncio.gather(metrics.open_page(0), metrics.open_page(0))
    assert first is second is third
    await first.close()
    await second.close()
    assert (await get(third.address)).startswith("HTTP/1.1 200")
    await third.close()
    with pytest.raises(OSError, match="refused|Connect"):
        await get(third.address)
    again = await metrics.open_page(0)
    assert (await get(again.address)).startswith("HTTP/1.1 200")
    await again.close()


async def test_page_is_on_loopback_alone() -> None:
    page = await metrics.open_page(0)
    assert page.address.startswith("127.0.0.1:")
    await page.close()


async def test_port_in_use_names_port_and_flag() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TetherError, match=f"Port {port} is in use .--metrics-port.") as caught:
            await metrics.open_page(port)
    assert caught.value.reason is Reason.PORT_IN_USE


@pytest.mark.parametrize("request_line", ["POST /metrics", "GET /etc/passwd", "GET /metrics2", "nonsense"])
async def test_anything_else_is_not_found(request_line: str) -> None:
    page = await metrics.open_page(0)
    answer = await get(page.address, f"{request_line} HTTP/1.1\r\n\r\n".encode())
    await page.close()
    assert answer.startswith("HTTP/1.1 404")


async def test_request_without_an_end_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "REQUEST_S_MAX", 0.05)
    page = await metrics.open_page(0)
    assert await get(page.address, b"GET /metrics HTTP/1.1\r\n") == ""
    await page.close()


async def test_request_over_the_limit_is_dropped() -> None:
    page = await metrics.open_page(0)
    try:
        answer = await get(page.address, b"GET /metrics HTTP/1.1\r\nx: " + b"a" * 100_000)
    except ConnectionError:
        answer = ""
    await page.close()
    assert answer == ""


async def test_scrapes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SCRAPES_MAX", 0)
    page = await metrics.open_page(0)
    answer = await get(page.address)
    await page.close()
    assert answer.startswith("HTTP/1.1 503")
