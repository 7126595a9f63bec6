#include "worker/user_database.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "worker/root_path.h"

namespace farm {
namespace {

constexpr int64_t kDatabaseBytesMax = 16 << 20;
constexpr int64_t kIdMax = (int64_t{1} << 31) - 1;  // Docker's; the kernel would take more.
constexpr size_t kGroupsMax = 65536;                // The kernel's NGROUPS_MAX.

bool IsNumber(absl::string_view text) {
  if (absl::StartsWith(text, "+") || absl::StartsWith(text, "-")) text.remove_prefix(1);
  return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
}

// Nothing if `text` is a name.
absl::StatusOr<std::optional<uint32_t>> ParseId(absl::string_view text) {
  if (!IsNumber(text)) return std::nullopt;
  int64_t id = 0;
  if (absl::ConsumePrefix(&text, "+"), !absl::SimpleAtoi(text, &id) || id < 0 || id > kIdMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("uids and gids must be in range 0-", kIdMax, ", not ", text));
  }
  return static_cast<uint32_t>(id);
}

// Fields that are not numbers count as 0, as in Docker.
uint32_t FieldId(absl::string_view field) {
  int64_t id = 0;
  return absl::SimpleAtoi(field, &id) && id >= 0 && id <= kIdMax ? static_cast<uint32_t>(id) : 0;
}

struct Line {
  std::vector<absl::string_view> fields;
  absl::string_view at(size_t i) const { return i < fields.size() ? fields[i] : ""; }
};

// Calls fn(line) for each entry until it returns true.
template <typename Fn>
void ForEachEntry(absl::string_view text, Fn fn) {
  for (absl::string_view raw : absl::StrSplit(text, '\n')) {
    raw = absl::StripAsciiWhitespace(raw);
    if (raw.empty() || raw[0] == '#') continue;
    if (fn(Line{absl::StrSplit(raw, ':')})) return;
  }
}

// Fills in uid, gid and home; returns the user's name if it is listed.
absl::StatusOr<std::string> FindUser(absl::string_view passwd, absl::string_view user,
                                     ResolvedUser& resolved) {
  ASSIGN_OR_RETURN(std::optional<uint32_t> uid, ParseId(user));
  if (user.empty()) uid = 0;
  if (uid.has_value()) resolved.uid = *uid;
  std::string name;
  bool found = false;
  ForEachEntry(passwd, [&](const Line& line) {  // name:password:uid:gid:gecos:home:shell
    if (uid.has_value() ? FieldId(line.at(2)) != *uid : line.at(0) != user) return false;
    found = true;
    name = std::string(line.at(0));
    resolved.uid = FieldId(line.at(2));
    resolved.gid = FieldId(line.at(3));
    if (!line.at(5).empty()) resolved.home = std::string(line.at(5));
    return true;
  });
  if (!found && !uid.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("unable to find user ", user, ": no matching entries in passwd file"));
  }
  return name;
}

absl::StatusOr<uint32_t> FindGroup(absl::string_view group_text, absl::string_view group) {
  ASSIGN_OR_RETURN(const std::optional<uint32_t> gid, ParseId(group));
  if (gid.has_value()) return *gid;
  std::optional<uint32_t> found;
  ForEachEntry(group_text, [&](const Line& line) {  // name:password:gid:member,member
    if (line.at(0) == group) found = FieldId(line.at(2));
    return found.has_value();
  });
  if (found.has_value()) return *found;
  return absl::InvalidArgumentError(
      absl::StrCat("unable to find group ", group, ": no matching entries in group file"));
}

std::vector<uint32_t> GroupsOf(absl::string_view group_text, absl::string_view user_name) {
  std::vector<uint32_t> groups;
  ForEachEntry(group_text, [&](const Line& line) {
    for (absl::string_view member : absl::StrSplit(line.at(3), ',')) {
      if (member != user_name) continue;
      groups.push_back(FieldId(line.at(2)));
      break;
    }
    return groups.size() == kGroupsMax;
  });
  return groups;
}

// Roots without these files are common (FROM scratch), and some have odd things in their place:
// numbers work all the same.
std::string ReadDatabase(int root_fd, const char* path) {
  return ReadFileInRoot(root_fd, path, kDatabaseBytesMax).value_or("");
}

}  // namespace

absl::StatusOr<ResolvedUser> ResolveUserIn(absl::string_view passwd, absl::string_view group,
                                           absl::string_view user) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(user, absl::MaxSplits(':', 1));
  ResolvedUser resolved;
  ASSIGN_OR_RETURN(const std::string name, FindUser(passwd, parts.first, resolved));
  if (!parts.second.empty()) {
    ASSIGN_OR_RETURN(resolved.gid, FindGroup(group, parts.second));
  } else if (!name.empty()) {
    resolved.groups = GroupsOf(group, name);
  }
  return resolved;
}

absl::StatusOr<ResolvedUser> ResolveOwnerIn(absl::string_view passwd, absl::string_view group,
                                            absl::string_view owner) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(owner, absl::MaxSplits(':', 1));
  ASSIGN_OR_RETURN(std::optional<uint32_t> id, ParseId(parts.first));
  if (parts.first.empty() || parts.first == "root") id = 0;
  ResolvedUser resolved;
  if (id.has_value()) {
    resolved.uid = resolved.gid = *id;
  } else {
    ResolvedUser listed;
    RETURN_IF_ERROR(FindUser(passwd, parts.first, listed).status());
    resolved.uid = listed.uid;
    resolved.gid = listed.gid;
  }
  if (parts.second == "root") {
    resolved.gid = 0;
  } else if (!parts.second.empty()) {
    ASSIGN_OR_RETURN(resolved.gid, FindGroup(group, parts.second));
  }
  return resolved;
}

absl::StatusOr<ResolvedUser> ResolveUser(int root_fd, absl::string_view user) {
  return ResolveUserIn(ReadDatabase(root_fd, "/etc/passwd"), ReadDatabase(root_fd, "/etc/group"),
                       user);
}

absl::StatusOr<ResolvedUser> ResolveOwner(int root_fd, absl::string_view owner) {
  return ResolveOwnerIn(ReadDatabase(root_fd, "/etc/passwd"), ReadDatabase(root_fd, "/etc/group"),
                        owner);
}

}  // namespace farm
