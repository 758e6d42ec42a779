#include "linear.hpp"
#include "simd.hpp"
