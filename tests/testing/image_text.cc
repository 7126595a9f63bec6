#include "tests/testing/image_text.h"

#include <cstdint>
#include <cstdlib>
#include <map>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/byte_stream.h"
#include "base/sha256.h"
#include "nlohmann/json.hpp"

namespace farm {
namespace {

using ::nlohmann::json;

struct TarEntry {
  std::string path;
  std::string attributes;  // All but path, time and content, xattrs too.
  std::string content;
  int64_t mtime = 0;
};

// Only what farm writes: ustar headers and pax records.
std::vector<TarEntry> ReadTar(absl::string_view tar) {
  constexpr size_t kBlock = 512;
  std::vector<TarEntry> entries;
  std::map<std::string, std::string> pax;
  while (tar.size() >= kBlock && tar[0] != '\0') {
    const auto field = [&](size_t at, size_t length) {
      const absl::string_view text = tar.substr(at, length);
      return std::string(text.substr(0, text.find('\0')));
    };
    const auto octal = [&](size_t at, size_t length) {
      return std::strtoll(field(at, length).c_str(), nullptr, 8);
    };
    const char type = tar[156];
    size_t size = static_cast<size_t>(octal(124, 12));
    if (type != 'x' && pax.count("size") > 0) size = std::stoul(pax["size"]);
    const absl::string_view content = tar.substr(kBlock, size);
    if (type == 'x') {
      for (absl::string_view left = content; !left.empty();) {
        const size_t space = left.find(' ');
        size_t length = 0;
        if (!absl::SimpleAtoi(left.substr(0, space), &length) || length > left.size()) break;
        const absl::string_view record = left.substr(space + 1, length - space - 2);
        const size_t equals = record.find('=');
        pax[std::string(record.substr(0, equals))] = std::string(record.substr(equals + 1));
        left.remove_prefix(length);
      }
    } else {
      TarEntry& entry = entries.emplace_back();
      entry.path = field(345, 155).empty() ? field(0, 100) : field(345, 155) + "/" + field(0, 100);
      if (pax.count("path") > 0) entry.path = pax["path"];
      entry.mtime = octal(136, 12);
      if (pax.count("mtime") > 0) entry.mtime = std::atoll(pax["mtime"].c_str());
      entry.content = std::string(content);
      entry.attributes = absl::StrCat(std::string(1, type), " ", field(100, 8), " ", field(108, 8),
                                      ":", field(116, 8), " dev ", field(329, 8), ",",
                                      field(337, 8), " -> ", field(157, 100));
      for (const auto& [key, value] : pax) {
        if (key == "path" || key == "mtime" || key == "atime" || key == "ctime") continue;
        absl::StrAppend(&entry.attributes, " ", key, "=", absl::CEscape(value));
      }
      pax.clear();
    }
    const size_t whole = kBlock + (size + kBlock - 1) / kBlock * kBlock;
    tar.remove_prefix(whole < tar.size() ? whole : tar.size());
  }
  return entries;
}

// A layer's entries, one a line. All times of the inputs lie years back, so that a time of today is
// that of the step: such times are equal.
std::string DescribeLayer(absl::string_view tar, Times times) {
  const int64_t today = absl::ToUnixSeconds(absl::Now() - absl::Hours(12));
  std::string text;
  for (const TarEntry& entry : ReadTar(tar)) {
    const std::string time = times == Times::kIgnored ? "-"
                             : entry.mtime > today    ? "now"
                                                      : absl::StrCat(entry.mtime);
    const std::string content = entry.content.size() < 80
                                    ? absl::StrCat("\"", absl::CEscape(entry.content), "\"")
                                    : DigestOf(entry.content).hex();
    absl::StrAppend(&text, entry.path, " ", entry.attributes, " ", time, " ", content, "\n");
  }
  return text;
}

}  // namespace

std::string DescribeImage(const std::string& archive_path, Times times) {
  std::map<std::string, std::string> files;
  for (TarEntry& entry : ReadTar(ReadFile(archive_path).value_or(""))) {
    files[entry.path] = std::move(entry.content);
  }
  const auto blob = [&](const json& descriptor) -> const std::string& {
    const std::string digest = descriptor["digest"];
    return files["blobs/sha256/" + digest.substr(digest.find(':') + 1)];
  };
  const json index = json::parse(files["index.json"], nullptr, false);
  if (!index.is_object()) return "no image: " + archive_path;
  const json manifest = json::parse(blob(index["manifests"][0]));
  json config = json::parse(blob(manifest["config"]));
  config.erase("created");
  for (json& line : config["history"]) line.erase("created");
  config["rootfs"].erase("diff_ids");
  std::string text = config.dump(1) + "\n";
  for (const json& layer : manifest["layers"]) {
    absl::StrAppend(&text, "--- layer\n", DescribeLayer(blob(layer), times));
  }
  return text;
}

}  // namespace farm
