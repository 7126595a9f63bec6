// Sizes and times as docker prints them.
#ifndef FARM_CLI_HUMAN_UNITS_H_
#define FARM_CLI_HUMAN_UNITS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace farm {

// Three digits and a decimal unit: "0B", "7.05MB", "204MB".
std::string HumanSize(int64_t size_bytes);

// "Less than a second", "About a minute", "3 hours", "2 weeks".
std::string HumanDuration(absl::Duration duration);

// "0.3s", "75.1s": a step's time.
std::string Seconds(absl::Duration duration);

// "1,234".
std::string WithThousands(int64_t count);

// Bytes of "512", "64k", "1.5GB", "2GiB" (letter case ignored; k, M, G, T are powers of 1000, with
// an i of 1024). INVALID_ARGUMENT for anything else.
absl::StatusOr<int64_t> ParseSize(absl::string_view text);

// "1 build", "1,200 builds": `one` as it is, or with an s.
std::string Counted(int64_t count, absl::string_view one);

}  // namespace farm

#endif  // FARM_CLI_HUMAN_UNITS_H_
