// Tars for tests, well-formed or hostile.
#ifndef FARM_LAYER_TESTING_TAR_BUILDER_H_
#define FARM_LAYER_TESTING_TAR_BUILDER_H_

#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "base/byte_stream.h"
#include "base/check.h"
#include "layer/tar_entry.h"
#include "layer/tar_writer.h"

namespace farm {

// TarBuilder().Directory("d").File("d/f", "hello").Build()
class TarBuilder {
 public:
  TarBuilder() : writer_(sink_) {}

  TarBuilder& Add(TarEntry entry, absl::string_view data = "") {
    entry.size_bytes = static_cast<int64_t>(data.size());
    FARM_CHECK_OK(writer_.AddEntry(entry));
    FARM_CHECK_OK(writer_.AddData(data));
    return *this;
  }
  TarBuilder& File(std::string name, absl::string_view data, uint32_t mode = 0644) {
    TarEntry entry;
    entry.name = std::move(name);
    entry.mode = mode;
    return Add(std::move(entry), data);
  }
  TarBuilder& Directory(std::string name, uint32_t mode = 0755) {
    TarEntry entry;
    entry.name = std::move(name);
    entry.type = TarType::kDirectory;
    entry.mode = mode;
    return Add(std::move(entry));
  }
  TarBuilder& Symlink(std::string name, std::string target) {
    return Link(TarType::kSymlink, std::move(name), std::move(target));
  }
  TarBuilder& HardLink(std::string name, std::string target) {
    return Link(TarType::kHardLink, std::move(name), std::move(target));
  }
  TarBuilder& Device(std::string name, TarType type, uint32_t major, uint32_t minor) {
    TarEntry entry;
    entry.name = std::move(name);
    entry.type = type;
    entry.mode = 0600;
    entry.device_major = major;
    entry.device_minor = minor;
    return Add(std::move(entry));
  }
  std::string Build() {
    FARM_CHECK_OK(writer_.Finish());
    return sink_.Take();
  }

 private:
  TarBuilder& Link(TarType type, std::string name, std::string target) {
    TarEntry entry;
    entry.name = std::move(name);
    entry.type = type;
    entry.mode = 0777;
    entry.link_name = std::move(target);
    return Add(std::move(entry));
  }

  StringSink sink_;
  TarWriter writer_;
};

}  // namespace farm

#endif  // FARM_LAYER_TESTING_TAR_BUILDER_H_
