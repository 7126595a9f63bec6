#include "tests/testing/image_facts.h"

#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/digest.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "layer/tar_reader.h"

namespace farm {
namespace {

using Json = nlohmann::json;

constexpr char kAbsent[] = "(absent)";
constexpr size_t kShownBytesMax = 100;
constexpr int64_t kJsonBytesMax = 1 << 20;

std::string Quoted(absl::string_view bytes) {
  return absl::StrCat("\"", absl::CHexEscape(bytes), "\"");
}

// "./etc/" and "etc" are "/etc".
std::string PathOf(absl::string_view name) {
  std::string path;
  for (const absl::string_view part : absl::StrSplit(name, '/', absl::SkipEmpty())) {
    if (part != ".") absl::StrAppend(&path, "/", part);
  }
  return path.empty() ? "/" : path;
}

absl::string_view NameOf(TarType type) {
  switch (type) {
    case TarType::kFile:
    case TarType::kHardLink:
      return "file";
    case TarType::kSymlink:
      return "symlink";
    case TarType::kCharDevice:
      return "character device";
    case TarType::kBlockDevice:
      return "block device";
    case TarType::kDirectory:
      return "directory";
    case TarType::kFifo:
      return "fifo";
  }
  return "";
}

std::string TimeOf(absl::Time time, absl::Time start) {
  if (time >= start) return "now";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", time, absl::UTCTimeZone());
}

// What is left of an entry's data.
absl::StatusOr<std::string> ReadAll(TarReader& reader) {
  std::string data;
  while (true) {
    ASSIGN_OR_RETURN(const absl::string_view bytes, reader.NextData());
    if (bytes.empty()) return data;
    absl::StrAppend(&data, bytes);
  }
}

class TreeReader {
 public:
  TreeReader(ByteSource& tar, absl::Time start) : reader_(tar, {}), start_(start) {}

  absl::StatusOr<Facts> Read() {
    TarEntry entry;
    while (true) {
      ASSIGN_OR_RETURN(const bool more, reader_.Next(&entry));
      if (!more) break;
      const std::string path = PathOf(entry.name);
      if (entry.type == TarType::kHardLink) {
        links_.insert({PathOf(entry.link_name), path});
      } else {
        RETURN_IF_ERROR(Add(path, entry));
      }
    }
    RETURN_IF_ERROR(AddHardLinks());
    Facts facts;
    for (const auto& [path, of_path] : paths_) {
      for (const auto& [name, value] : of_path) {
        facts[absl::StrCat(absl::CHexEscape(path), " ", name)] = value;
      }
    }
    return facts;
  }

 private:
  absl::Status Add(const std::string& path, const TarEntry& entry) {
    Facts& facts = paths_[path];
    facts["type"] = std::string(NameOf(entry.type));
    facts["owner"] = absl::StrCat(entry.uid, ":", entry.gid);
    facts["mtime"] = TimeOf(entry.mtime, start_);
    for (const auto& [name, value] : entry.xattrs) facts["xattr " + name] = Quoted(value);
    if (entry.type == TarType::kSymlink) {
      facts["target"] = Quoted(entry.link_name);
    } else {
      facts["mode"] = absl::StrFormat("%04o", entry.mode);
    }
    if (entry.type == TarType::kCharDevice || entry.type == TarType::kBlockDevice) {
      facts["device"] = absl::StrCat(entry.device_major, ":", entry.device_minor);
    }
    if (entry.type == TarType::kFile) {
      ASSIGN_OR_RETURN(const std::string content, ReadAll(reader_));
      facts["content"] =
          content.size() <= kShownBytesMax ? Quoted(content) : DigestOf(content).oci();
    }
    return absl::OkStatus();
  }

  // Which of its names a file has first in a tar is chance: all of them say the same here.
  absl::Status AddHardLinks() {
    std::map<std::string, std::set<std::string>> groups;
    for (const auto& [first, other] : links_) {
      const auto found = paths_.find(first);
      if (found == paths_.end()) {
        return absl::InvalidArgumentError(absl::StrCat(other, " is a link to no file: ", first));
      }
      paths_[other] = found->second;
      groups[first].insert({first, other});
    }
    for (const auto& [first, names] : groups) {
      for (const std::string& name : names) {
        const auto partner = name == *names.begin() ? std::next(names.begin()) : names.begin();
        paths_[name]["link"] = Quoted(*partner);
      }
    }
    return absl::OkStatus();
  }

  TarReader reader_;
  const absl::Time start_;
  std::map<std::string, Facts> paths_;
  std::multimap<std::string, std::string> links_;  // a name that has the content -> another
};

bool IsBlank(const Json& value) {
  return value.is_null() || value == "" || value == false || value == 0 ||
         (value.is_structured() && value.empty());
}

void AddMembers(const Json& object, absl::string_view prefix, const std::set<std::string>& left_out,
                Facts& facts) {
  for (const auto& [name, value] : object.items()) {
    if (left_out.count(name) == 0 && !IsBlank(value)) {
      facts[absl::StrCat(prefix, name)] = value.dump();
    }
  }
}

}  // namespace

absl::StatusOr<Facts> FactsOfTree(ByteSource& tar, absl::Time start) {
  return TreeReader(tar, start).Read();
}

absl::StatusOr<Facts> FactsOfConfig(absl::string_view json) {
  const Json image = Json::parse(json.begin(), json.end(), nullptr, /*allow_exceptions=*/false);
  if (!image.is_object() || !image.contains("rootfs")) {
    return absl::InvalidArgumentError(absl::StrCat("no image config: ", json));
  }
  Facts facts;
  for (const char* name : {"architecture", "os", "variant", "author"}) {
    if (image.contains(name) && !IsBlank(image[name])) facts[name] = image[name].dump();
  }
  if (image.contains("config")) AddMembers(image["config"], "config ", {}, facts);
  facts["layers"] = absl::StrCat(image["rootfs"].value("diff_ids", Json::array()).size());
  int number = 0;
  for (const Json& entry : image.value("history", Json::array())) {
    AddMembers(entry, absl::StrCat("history ", ++number, " "), {"created"}, facts);
  }
  return facts;
}

absl::StatusOr<std::map<std::string, Facts>> FactsOfArchive(ByteSource& archive) {
  TarReader reader(archive, {});
  std::map<std::string, std::string> files;  // those that may be JSON
  TarEntry entry;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, reader.Next(&entry));
    if (!more) break;
    if (entry.type != TarType::kFile || entry.size_bytes > kJsonBytesMax) continue;
    ASSIGN_OR_RETURN(files[entry.name], ReadAll(reader));
  }
  const Json manifest = Json::parse(files["manifest.json"], nullptr, /*allow_exceptions=*/false);
  if (!manifest.is_array()) return absl::InvalidArgumentError("no manifest.json in the archive");
  std::map<std::string, Facts> images;
  for (const Json& image : manifest) {
    ASSIGN_OR_RETURN(const Facts facts, FactsOfConfig(files[image.value("Config", "")]));
    for (const Json& name : image.value("RepoTags", Json::array())) images[name] = facts;
  }
  return images;
}

Facts ParseFacts(absl::string_view text) {
  Facts facts;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::StartsWith(line, "    ") || !absl::StrContains(line, " = ")) continue;
    facts.insert(absl::StrSplit(line.substr(4), absl::MaxSplits(" = ", 1)));
  }
  return facts;
}

std::vector<std::string> Differences(const Facts& reference, const Facts& found,
                                     const Facts& differing) {
  const auto value_in = [](const Facts& facts, const std::string& name) -> std::string {
    const auto fact = facts.find(name);
    return fact == facts.end() ? kAbsent : fact->second;
  };
  std::set<std::string> names;
  for (const Facts* facts : {&reference, &found, &differing}) {
    for (const auto& [name, value] : *facts) names.insert(name);
  }
  std::vector<std::string> lines;
  for (const std::string& name : names) {
    const std::string wanted = value_in(reference, name);
    const std::string is = value_in(found, name);
    const auto other = differing.find(name);
    if (other == differing.end()) {
      if (is != wanted) lines.push_back(absl::StrCat(name, " = ", is, ", not ", wanted));
    } else if (is == wanted) {
      lines.push_back(absl::StrCat(name, " = ", is, ", and does not differ"));
    } else if (is != other->second) {
      lines.push_back(absl::StrCat(name, " = ", is, ", not ", other->second));
    }
  }
  return lines;
}

}  // namespace farm
