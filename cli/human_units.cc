#include "cli/human_units.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace farm {

std::string HumanSize(int64_t size_bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  double value = static_cast<double>(size_bytes);
  int unit = 0;
  // 999.5 would be rounded to "1e+03".
  while (value >= 999.5 && unit < 5) {
    value /= 1000;
    ++unit;
  }
  return absl::StrFormat("%.3g%s", value, kUnits[unit]);
}

std::string HumanDuration(absl::Duration duration) {
  const int64_t seconds = absl::ToInt64Seconds(duration);
  const int64_t minutes = seconds / 60;
  const int64_t hours = std::llround(static_cast<double>(seconds) / 3600);
  if (seconds < 1) return "Less than a second";
  if (seconds == 1) return "1 second";
  if (seconds < 60) return absl::StrCat(seconds, " seconds");
  if (minutes == 1) return "About a minute";
  if (minutes < 60) return absl::StrCat(minutes, " minutes");
  if (hours == 1) return "About an hour";
  if (hours < 48) return absl::StrCat(hours, " hours");
  if (hours < 24 * 7 * 2) return absl::StrCat(hours / 24, " days");
  if (hours < 24 * 30 * 2) return absl::StrCat(hours / 24 / 7, " weeks");
  if (hours < 24 * 365 * 2) return absl::StrCat(hours / 24 / 30, " months");
  return absl::StrCat(hours / 24 / 365, " years");
}

std::string Seconds(absl::Duration duration) {
  return absl::StrFormat("%.1fs", std::max(0.0, absl::ToDoubleSeconds(duration)));
}

std::string WithThousands(int64_t count) {
  const std::string digits = absl::StrCat(count);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    const bool is_first = i == 0 || digits[i - 1] == '-';
    if (!is_first && (digits.size() - i) % 3 == 0) text.push_back(',');
    text.push_back(digits[i]);
  }
  return text;
}

absl::StatusOr<int64_t> ParseSize(absl::string_view text) {
  std::string rest = absl::AsciiStrToLower(text);
  const size_t digits = rest.find_first_not_of("0123456789.");
  absl::string_view unit =
      digits == std::string::npos ? "" : absl::string_view(rest).substr(digits);
  double value = 0;
  double factor = 1;
  absl::ConsumeSuffix(&unit, "b");
  const double base = absl::ConsumeSuffix(&unit, "i") ? 1024 : 1000;
  constexpr absl::string_view kLetters = "kmgtp";
  bool valid = absl::SimpleAtod(absl::string_view(rest).substr(0, digits), &value);
  if (unit.size() == 1 && kLetters.find(unit[0]) != absl::string_view::npos) {
    factor = std::pow(base, kLetters.find(unit[0]) + 1);
  } else if (!unit.empty() || base == 1024) {
    valid = false;
  }
  if (!valid || value * factor > 9e18) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is not a size; expected for example 512, 64kB, 20GB or 1.5GiB"));
  }
  return static_cast<int64_t>(value * factor);
}

std::string Counted(int64_t count, absl::string_view one) {
  return absl::StrCat(WithThousands(count), " ", one, count == 1 ? "" : "s");
}

}  // namespace farm
