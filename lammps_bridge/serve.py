"""Server that holds the model for ``fix propensity``: ``python -m lammps_bridge.serve``.

The fix starts one by itself.  Start it by hand, with ``--listen``, to share it between runs or to
predict on another machine, for instance one with a GPU.  Whoever reaches the address may use it: listen
at 127.0.0.1 or at a unix path, and tunnel (``ssh -L``) from elsewhere.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import stat
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lammps_bridge import protocol
from lammps_bridge.core import open_predictor, predict_frame
from propensity.bias import Bias, form_of, roughness
from propensity.errors import InputError, PropensityError, PropensityWarning
from propensity.predictor import Predictor
from propensity.species import map_species

DEFAULT = "ka-default"

#: Connections share the device, and catching warnings is global to the process.
_one_at_a_time = threading.Lock()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve one descriptor, or listen until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m lammps_bridge.serve", description=(__doc__ or "").replace("``", "`")
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--listen", metavar="HOST:PORT|unix:PATH", help="wait for simulations here, until interrupted"
    )
    where.add_argument("--descriptor", type=int, help=argparse.SUPPRESS)
    parser.add_argument(
        "--device", help="device of every model, whatever the fix says (default: CUDA where there is one)"
    )
    chosen = parser.parse_args(arguments)
    if chosen.descriptor is not None:
        # Ctrl-C reaches the whole group; LAMMPS decides, and its end closes the connection.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        serve(socket.socket(fileno=chosen.descriptor), chosen.device)
        return
    try:
        listen(chosen.listen, chosen.device)
    except KeyboardInterrupt:
        pass
    except PropensityError as error:
        sys.exit(f"lammps_bridge.serve: error: {error}")


def listen(address: str, device: str | None = None) -> None:
    """Accept simulations at ``host:port`` or ``unix:path``, each in its own thread."""
    family, where = _address(address)
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        if family != socket.AF_UNIX:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(listener, where, address)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a unix path is removed
        try:
            listener.listen()
            name = listener.getsockname()
            shown = f"unix:{name}" if family == socket.AF_UNIX else f"{name[0]}:{name[1]}"
            print(f"listening at {shown}", flush=True)
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError as error:  # too many open files: others will end
                    print(f"no connection accepted ({error.strerror})", file=sys.stderr, flush=True)
                    time.sleep(0.5)
                    continue
                if family != socket.AF_UNIX:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=serve, args=(connection, device), daemon=True).start()
        finally:
            if family == socket.AF_UNIX:
                Path(str(where)).unlink(missing_ok=True)


def _bind(listener: socket.socket, where: str | tuple[str, int], address: str) -> None:
    """Bind; a unix path is for this user only, and one that a dead server has left is taken over."""
    before = os.umask(0o177)
    try:
        if isinstance(where, str) and _is_stale(where):
            os.unlink(where)
        listener.bind(where)
    except (OSError, ValueError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"can't listen at {address} ({reason}): choose a free one.") from None
    finally:
        os.umask(before)


def _is_stale(path: str) -> bool:
    """Whether a path is a socket at which nobody listens."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            probe.connect(path)
        return False
    except ConnectionRefusedError:
        return True
    except OSError:
        return False


def serve(connection: socket.socket, device: str | None = None) -> None:
    """Answer one simulation until it ends; an error is sent to it as text and ends the connection."""
    with connection:
        try:
            _converse(connection, device)
        except (BrokenPipeError, ConnectionResetError):
            pass
        except Exception as error:
            if not isinstance(error, PropensityError):
                traceback.print_exc()
            text = str(error) if isinstance(error, PropensityError) else f"{type(error).__name__}: {error}"
            try:
                protocol.send_reply(connection, 1, text)
                _hear_out(connection)
            except OSError:
                pass


def _hear_out(connection: socket.socket) -> None:
    """Read what the client is still sending: closing before would take the answer back."""
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(5)
    give_up = time.monotonic() + 60
    while connection.recv(protocol.CHUNK) and time.monotonic() < give_up:
        pass


def _converse(connection: socket.socket, device: str | None) -> None:
    options = protocol.receive_hello(connection)
    if options is None:
        return
    with _one_at_a_time, _caught() as doubts:
        predictor, indices = open_for(options, device)
        bias = None
        if "bias" in options:
            bias = Bias(predictor, form_of(options["bias"]), float(predictor.times[indices[0]]))
    shown = ", ".join(f"{time:g}" for time in predictor.times[indices])
    text = (
        f"model {' '.join(options.get('model', [DEFAULT]))} on {predictor.device}, propensity at t = {shown}"
        f"{_said(predictor)}{''.join(f'; {doubt.message}' for doubt in doubts)}"
    )
    if bias is not None:
        reason = roughness(predictor.card)
        text += f", bias {' '.join(options['bias'])}" + (f" ({reason})" if reason else "")
    protocol.send_reply(connection, 0, text, np.array([len(indices), len(predictor.species)]))
    while (frame := protocol.receive_frame(connection)) is not None:
        with _one_at_a_time, _caught() as caught:
            annotation = predict_frame(predictor, frame, indices, bias)
        text = " ".join(str(warning.message) for warning in caught)
        biased = () if annotation.forces is None else (np.array(annotation.energy), annotation.forces)
        predicted = annotation.means, annotation.doubts, annotation.values
        protocol.send_reply(connection, 0, text, *predicted, *biased)


@contextmanager
def _caught() -> Iterator[list[warnings.WarningMessage]]:
    """Our own warnings, which the simulation shows to its user; all others are dropped."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", PropensityWarning)
        yield caught


def _said(predictor: Predictor) -> str:
    """Temperature of the model for the line that a simulation shows."""
    return "" if predictor.temperature is None else f", for temperature {predictor.temperature:g}"


def open_for(options: dict[str, list[str]], device: str | None = None) -> tuple[Predictor, list[int]]:
    """Predictor and indices of its times for the keywords of a fix; ``device`` goes before the fix's."""
    species, times = options.get("species", []), options.get("times", ["default"])
    named = times in (["all"], ["default"])
    predictor, indices = open_predictor(
        options.get("model", DEFAULT),
        times[0] if named else [_number("times", t) for t in times],
        device=device or options.get("device", [None])[0],
        species_map=dict(enumerate(species, 1)),
        length_scale=_one_number(options, "length_scale"),
        temperature=_one_number(options, "temperature"),
        potential=" ".join(options["potential"]) if "potential" in options else None,
    )
    # A wrong name shows here, at the line of the fix, instead of in the first step.
    map_species({"type": np.arange(1, 1 + len(species))}, predictor.species, predictor.species_map)
    return predictor, indices


def _one_number(options: dict[str, list[str]], keyword: str) -> float | None:
    return _number(keyword, options[keyword][0]) if keyword in options else None


def _number(keyword: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{keyword} has the value {text!r}: give a number.") from None


def _address(text: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        # An empty path, or one that begins with a zero, would be an address open to every local user.
        if not path or not path.isprintable():
            raise InputError(f"address {text!r} names no file: give a path, e.g. unix:/tmp/propensity.")
        return socket.AF_UNIX, path
    host, _, port = text.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise InputError(
            f"address {text!r} is neither host:port nor unix:path, e.g. 127.0.0.1:5678 (ports end at 65535)."
        )
    return socket.AF_INET, (host, int(port))


if __name__ == "__main__":
    main()
