#include "worker/git_modules.h"

#include <limits.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/redact_url.h"

namespace farm {
namespace {

bool IsHttp(absl::string_view url) {
  return absl::StartsWith(url, "http://") || absl::StartsWith(url, "https://");
}

bool IsSafeName(absl::string_view name) {
  if (name.empty() || name[0] == '/') return false;
  for (const absl::string_view part : absl::StrSplit(name, absl::ByAnyChar("/\\"))) {
    if (part == ".." || part.size() > NAME_MAX) return false;
  }
  return true;
}

}  // namespace

std::map<std::string, GitModule> ParseGitModules(absl::string_view printed) {
  struct Section {
    std::string path;
    GitModule module;
  };
  std::map<std::string, Section> sections;
  std::vector<std::string> in_order;  // names, of each time that a path is given
  for (const absl::string_view entry : absl::StrSplit(printed, '\0', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(entry, absl::MaxSplits('\n', 1));
    absl::string_view key = pair.first;
    const size_t dot = key.rfind('.');
    if (dot == key.npos || !absl::ConsumePrefix(&key, "submodule.")) continue;
    const absl::string_view variable = pair.first.substr(dot + 1);
    if (key.size() <= variable.size()) continue;  // Of no submodule, but of all: submodule.recurse.
    const std::string name(key.substr(0, key.size() - variable.size() - 1));
    if (!IsSafeName(name)) continue;
    Section& section = sections[name];
    section.module.name = name;
    if (variable == "path") {
      section.path = std::string(absl::StripSuffix(pair.second, "/"));
      in_order.push_back(name);
    }
    if (variable == "url") section.module.url = std::string(pair.second);
    if (variable == "update") section.module.update = std::string(pair.second);
  }
  std::map<std::string, GitModule> modules;
  for (const std::string& name : in_order) {
    const Section& section = sections[name];
    if (!section.path.empty()) modules[section.path] = section.module;
  }
  return modules;
}

absl::StatusOr<std::string> SubmoduleUrl(absl::string_view parent_url, absl::string_view url) {
  const std::string shown = RedactUrls(url);
  std::string base;
  if (absl::StartsWith(url, "./") || absl::StartsWith(url, "../")) {
    absl::string_view parent = parent_url;
    const size_t host = parent.find("://") + 3;
    const size_t path = std::min(parent.find('/', host), parent.size());
    while (absl::ConsumeSuffix(&parent, "/")) {
    }
    while (true) {
      if (absl::ConsumePrefix(&url, "./")) continue;
      if (!absl::ConsumePrefix(&url, "../")) break;
      if (parent.size() <= path) {
        return absl::InvalidArgumentError(
            absl::StrCat(shown, " leads out of ", RedactUrls(parent_url)));
      }
      parent = parent.substr(0, parent.rfind('/'));
    }
    base = absl::StrCat(parent, "/");
  }
  const std::string whole = absl::StrCat(base, absl::StripSuffix(url, "/"));
  const bool is_clean = std::none_of(whole.begin(), whole.end(),
                                     [](unsigned char c) { return absl::ascii_iscntrl(c); });
  if (IsHttp(whole) && is_clean) return whole;
  return absl::InvalidArgumentError(absl::StrCat(
      "expected an http or https URL, got \"", shown,
      "\": ask for the repository with ?submodules=false, or have it name this one by https"));
}

}  // namespace farm
