"""llama.cpp's C interface as two objects: an open model, and a context with a cache of its own.

R outputs of a call, V vocabulary.
"""

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from edge.errors import Damaged, EdgeError
from edge.files.closeable import Closeable
from edge.typing import F32, U8, Fed
from edge_runtimes.gguf.buffers import leave_out_amx

_ERROR, _CONTINUED = 4, 5  # levels of what the library logs; an error here is raised there
BATCH = 512  # tokens of a prompt at a time
_SCORES = 1 << 20  # attention scores a head and call, where they are in memory
_LEAST = 32  # tokens of a call, however long the cache
DRAFTS = 32  # the most tokens that are drafted before they are verified
Watch = Callable[[int, bool, object], bool]  # a tensor's address, whether it is only asked of
_said: list[str] = []


def _log(level: int, text: bytes, _data: ctypes.c_void_p) -> None:
    """Keep the first errors for a message of our own; print nothing."""
    if level in (_ERROR, _CONTINUED) and len(_said) < 8:
        _said.append(text.decode(errors="replace").strip())


_LOG = llama_cpp.llama_log_callback(_log)  # the library calls it as long as it is loaded
llama_cpp.llama_log_set(_LOG, ctypes.c_void_p(0))
llama_cpp.llama_backend_init()
leave_out_amx()


class Model(Closeable):
    """Weights, which several contexts may share; freed when each who holds them has closed them.

    `files`: one, or shards in their order. `numbers`: keys of the first file whose values are to be
    others. `mapped`: whether files are mapped, or read into memory. `gpu_layers`: how many lie on a GPU,
    where the library can use one; all, if none is said.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        numbers: dict[str, int],
        mapped: bool,
        gpu_layers: int | None = None,
    ) -> None:
        self._holders = 1
        self.on_gpu = gpu_layers != 0 and bool(llama_cpp.llama_supports_gpu_offload())
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = -1 if gpu_layers is None else gpu_layers
        mapped = mapped or llama_cpp.llama_supports_gpu_offload()
        params.load_mode = (
            llama_cpp.LLAMA_LOAD_MODE_MMAP if mapped else llama_cpp.LLAMA_LOAD_MODE_NONE
        )
        self._overrides = _overrides(numbers)
        params.kv_overrides = self._overrides
        paths = (ctypes.c_char_p * len(files))(*(str(file).encode() for file in files))
        _said.clear()
        self.pointer = llama_cpp.llama_model_load_from_splits(paths, len(files), params)
        if not self.pointer:
            reason = " ".join(_said)[:300]
            raise Damaged(f"llama.cpp refuses {files[0]}: {reason}", fix="convert again")
        vocab = llama_cpp.llama_model_get_vocab(self.pointer)
        self.vocab: int = llama_cpp.llama_vocab_n_tokens(vocab)
        self.adapter: Any = None  # a pointer

    def adapt(self, file: Path) -> None:
        """Have what a file of `edge.gguf.lora` holds beside the weights, in contexts that are made from now on; it is
        freed with the model.
        """
        _said.clear()
        self.adapter = llama_cpp.llama_adapter_lora_init(self.pointer, str(file).encode())
        if not self.adapter:
            reason = " ".join(_said)[:300]
            raise EdgeError(
                f"llama.cpp refuses the adapter: {reason}",
                fix="merge it into the weights: edge convert MODEL --adapter FOLDER",
            )

    def hold(self) -> "Model":
        """For one more who will close it."""
        self._holders += 1
        return self

    def close(self) -> None:
        self._holders -= 1
        if self._holders == 0:
            llama_cpp.llama_model_free(self.pointer)


class Context(Closeable):
    """A cache of `rows` tokens over a model. `batch`: tokens of a call; `outputs`: positions of it whose
    logits may be asked. `watch`: sees every operation of every call, which costs a call of Python each.

    On a GPU attention is one kernel, which keeps no scores. On a CPU that kernel decodes a quarter slower
    over short caches and at half the speed over long ones: there scores are in memory, of short calls
    where the cache is long.
    """

    def __init__(
        self,
        model: Model,
        rows: int,
        *,
        threads: int,
        exact: bool = False,
        batch: int = BATCH,
        outputs: int = 1,
        watch: Watch | None = None,
    ) -> None:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = rows
        params.n_batch = params.n_ubatch = min(batch, max(rows, 32))
        params.n_outputs_max = outputs
        params.n_threads = params.n_threads_batch = threads
        params.no_perf = True
        if exact:  # the fused attention computes in fp16 even over a cache in float32
            params.type_k = params.type_v = llama_cpp.GGML_TYPE_F32
        if exact or not model.on_gpu:
            params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
            params.n_ubatch = at_once(rows, params.n_batch)
        if watch is not None:
            self._watch = llama_cpp.ggml_backend_sched_eval_callback(watch)  # kept: it is called
            params.cb_eval = self._watch
        self._model, self.rows, self.outputs = model, rows, outputs
        self._tokens = np.zeros(params.n_batch, np.int32)
        self._wanted = np.zeros(params.n_batch, np.int8)
        self._batch = llama_cpp.llama_batch(
            token=_pointer(self._tokens, llama_cpp.llama_token),
            logits=_pointer(self._wanted, ctypes.c_int8),
        )
        self._rows = llama_cpp.llama_batch(logits=_pointer(self._wanted, ctypes.c_int8))
        self.batch: int = params.n_batch
        _said.clear()
        self.pointer = llama_cpp.llama_init_from_model(model.pointer, params)
        if not self.pointer:
            reason = " ".join(_said)[:300]
            raise EdgeError(
                f"llama.cpp cannot make a cache of {rows} tokens: {reason}",
                fix="use a shorter context: edge plan says what fits",
            )
        if model.adapter:
            held = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(model.adapter)
            failed = llama_cpp.llama_set_adapters_lora(
                self.pointer, held, 1, (ctypes.c_float * 1)(1)
            )
            assert not failed, f"an adapter of the model: {failed}"
        self._memory = llama_cpp.llama_get_memory(self.pointer)

    def run(self, fed: Fed, *, outputs: int) -> F32:
        """Append tokens [T], or rows [T, D] -> logits of the last of them [R, V], in memory that the next
        call overwrites.
        """
        count = len(fed)
        self._wanted[: count - outputs] = 0
        self._wanted[count - outputs : count] = 1
        if isinstance(fed, np.ndarray) and fed.ndim == 2:
            fed = np.ascontiguousarray(fed, np.float32)  # kept until the call is over
            batch = self._rows
            batch.embd = _pointer(fed, ctypes.c_float)  # type: ignore[assignment]
        else:
            self._tokens[:count] = fed
            batch = self._batch
        batch.n_tokens = count
        _said.clear()
        failed = llama_cpp.llama_decode(self.pointer, batch)
        if failed:
            reason = " ".join(_said)[:300]
            raise EdgeError(f"llama.cpp failed with {failed}: {reason}", fix="convert again")
        if not outputs:
            return np.zeros((0, self._model.vocab), np.float32)
        first = llama_cpp.llama_get_logits_ith(self.pointer, count - outputs)
        logits: F32 = np.ctypeslib.as_array(first, (outputs, self._model.vocab))
        return logits

    def forget(self, length: int) -> None:
        """Drop every row from `length` on."""
        if not llama_cpp.llama_memory_seq_rm(self._memory, 0, length, -1):
            raise AssertionError(f"llama.cpp keeps what lies after {length}")

    def state(self) -> U8:
        """Every row with its position: see `edge_runtimes.gguf.state`."""
        raw = np.empty(llama_cpp.llama_state_seq_get_size(self.pointer, 0), np.uint8)
        got = llama_cpp.llama_state_seq_get_data(self.pointer, _bytes(raw), len(raw), 0)
        assert got == len(raw), f"{got} of {len(raw)} bytes of state"
        return raw

    def restore(self, raw: U8) -> None:
        """The rows of another context, in place of its own."""
        done = llama_cpp.llama_state_seq_set_data(self.pointer, _bytes(raw), len(raw), 0)
        assert done == len(raw), f"{done} of {len(raw)} bytes of state"

    def close(self) -> None:
        if self.pointer:
            llama_cpp.llama_free(self.pointer)
            self.pointer = None


def at_once(rows: int, batch: int = BATCH) -> int:
    """Tokens of a call over a cache of so many rows, where its scores are in memory."""
    return min(batch, max(_LEAST, _SCORES // rows))


def _overrides(numbers: dict[str, int]) -> "ctypes.Array[llama_cpp.llama_model_kv_override]":
    """An array that an entry without a key ends."""
    array = (llama_cpp.llama_model_kv_override * (len(numbers) + 1))()
    for entry, (key, value) in zip(array, numbers.items(), strict=False):
        entry.tag = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_INT
        entry.key, entry.value.val_i64 = key.encode(), value
    return array


def _bytes(raw: U8) -> object:
    return _pointer(raw, ctypes.c_uint8)


def _pointer(array: np.ndarray, kind: type) -> object:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))
