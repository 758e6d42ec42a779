// Checks of what the arrays of a batch contain, made in every run of an operation.
#pragma once

#include <cstdint>
#include <sstream>
#include <stdexcept>

#include "sequence.hpp"

namespace headlong {

constexpr int64_t kMaxPosition = 1 << 30;  // positions are int32, and a chunk may end past the last

// The message is put together only when it is needed: checks of a good call cost a compare.
template <class... Parts>
void require(bool ok, const Parts&... parts) {
  if (ok) return;
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

// Segments lie one after another within the batch.
inline void check_rows(const int32_t* row_start, const int32_t* rows, int count, int64_t total) {
  int64_t end = 0;
  for (int s = 0; s < count; ++s) {
    require(rows[s] >= 0, "rows[", s, "] is negative");
    require(row_start[s] >= end, "row_start[", s, "] lies inside or before the last segment");
    end = int64_t(row_start[s]) + rows[s];
    require(end <= total, "segment ", s, " ends at row ", end, " of ", total);
  }
}

inline void check_positions(const int32_t* pos_start, const int32_t* rows, int count) {
  for (int s = 0; s < count; ++s) {
    require(pos_start[s] >= 0, "pos_start[", s, "] is negative");
    const int64_t end = int64_t(pos_start[s]) + rows[s];
    require(end <= kMaxPosition, "segment ", s, " ends at position ", end, "; at most ",
            kMaxPosition, " are supported");
  }
}

// Rows, positions, and the pages of a cache of `pages` pages that they lie on.
inline void check_segments(const Segments& s, int64_t total_rows, int64_t pages) {
  check_rows(s.row_start, s.rows, s.count, total_rows);
  check_positions(s.pos_start, s.rows, s.count);
  for (int i = 0; i < s.count; ++i) {
    const int64_t end = int64_t(s.pos_start[i]) + s.rows[i];
    const int64_t used = s.rows[i] == 0 ? 0 : (end + kPageRows - 1) / kPageRows;
    require(used <= s.max_pages, "page_table holds ", s.max_pages, " pages a segment; segment ", i,
            " needs ", used);
    for (int64_t p = 0; p < used; ++p) {
      const int32_t page = s.page_table[int64_t(i) * s.max_pages + p];
      require(page >= 0 && page < pages, "page_table[", i, ", ", p, "] is ", page, ", outside 0..",
              pages - 1);
    }
  }
}

}  // namespace headlong
