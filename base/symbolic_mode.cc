#include "base/symbolic_mode.h"

#include "absl/strings/str_cat.h"

namespace farm {
namespace {

constexpr uint32_t kUser = 04700;
constexpr uint32_t kGroup = 02070;
constexpr uint32_t kOther = 00007;
constexpr uint32_t kSticky = 01000;
constexpr uint32_t kAll = 07777;
constexpr uint32_t kUmask = 0022;
constexpr size_t kTextBytesMax = 1000;

bool IsOperation(char c) { return c == '+' || c == '-' || c == '='; }

uint32_t Who(char c) {
  switch (c) {
    case 'u':
      return kUser;
    case 'g':
      return kGroup;
    case 'o':
      return kOther | kSticky;
    case 'a':
      return kAll;
    default:
      return 0;
  }
}

// The bits of one class, for all three.
uint32_t Spread(uint32_t mode, char from) {
  const uint32_t bits = (from == 'u' ? mode >> 6 : from == 'g' ? mode >> 3 : mode) & 07;
  return bits << 6 | bits << 3 | bits;
}

}  // namespace

absl::StatusOr<SymbolicMode> SymbolicMode::Parse(absl::string_view text) {
  const auto error = [text](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("invalid mode '", text, "': ", what,
                                                   " (expected clauses such as u+x,go-w or a=rX)"));
  };
  if (text.size() > kTextBytesMax) return error("it is too long");
  SymbolicMode mode;
  size_t i = 0;
  const auto peek = [&] { return i < text.size() ? text[i] : '\0'; };
  while (true) {
    uint32_t who = 0;
    while (Who(peek()) != 0) who |= Who(text[i++]);
    // Without a class the umask tells which bits are meant.
    const uint32_t touched = who == 0 ? kAll & ~kUmask : who;
    if (!IsOperation(peek())) return error("+, - or = is missing");
    while (IsOperation(peek())) {
      Change change{.who = touched, .operation = text[i++]};
      if (peek() == 'u' || peek() == 'g' || peek() == 'o') {
        change.copy_from = text[i++];
      } else {
        for (bool more = true; more;) {
          switch (peek()) {
            case 'r':
              change.bits |= 0444;
              break;
            case 'w':
              change.bits |= 0222;
              break;
            case 'x':
              change.bits |= 0111;
              break;
            case 'X':
              change.execute_if = true;
              break;
            case 's':
              change.bits |= 06000;
              break;
            case 't':
              change.bits |= kSticky;
              break;
            default:
              more = false;
          }
          if (more) ++i;
        }
      }
      mode.changes_.push_back(change);
    }
    if (i == text.size()) return mode;
    if (peek() != ',') return error(absl::StrCat("'", text.substr(i, 1), "' is unknown"));
    ++i;
  }
}

uint32_t SymbolicMode::Apply(uint32_t mode, bool is_directory) const {
  for (const Change& change : changes_) {
    uint32_t bits = change.copy_from != 0 ? Spread(mode, change.copy_from) : change.bits;
    if (change.execute_if && (is_directory || (mode & 0111) != 0)) bits |= 0111;
    bits &= change.who;
    if (change.operation == '-') {
      mode &= ~bits;
    } else {
      if (change.operation == '=') mode &= ~change.who;
      mode |= bits;
    }
  }
  return mode & kAll;
}

}  // namespace farm
