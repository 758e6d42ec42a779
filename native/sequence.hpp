#pragma once
namespace headlong {
struct SequenceKernels {};
}  // namespace headlong
