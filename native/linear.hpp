#pragma once
namespace headlong {
struct LinearKernels {};
}  // namespace headlong
