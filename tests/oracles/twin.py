"""A copy of a model with every tensor decoded to F32 by the `gguf` package.

An oracle that runs the twin computes with exactly the values that a quantised file means, without
the rounding of activations that quantised kernels do: what remains of a difference to a float
reference is rounding in the last bits.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np


def write_float_twin(source: Path, target: Path) -> Path:
    """Write the F32 copy of `source` to `target`; metadata stays as it is."""
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        element = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=element)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, np.array(values, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
