#ifndef FARM_OCI_TESTING_TEST_LAYOUT_H_
#define FARM_OCI_TESTING_TEST_LAYOUT_H_

#include <string>
#include <vector>

#include "oci/manifest.h"

namespace farm {

// An OCI layout in a directory, to be filled by a test, and damaged.
class TestLayout {
 public:
  explicit TestLayout(std::string directory);  // which is made

  const std::string& directory() const { return directory_; }
  std::string BlobPath(const Digest& digest) const;

  // Each returns what names the blob that it wrote.
  Digest AddBlob(const std::string& bytes) const;
  Descriptor AddImage(const std::string& platform, const std::vector<std::string>& layers) const;
  Descriptor AddIndex(const std::vector<Descriptor>& images) const;

  // Adds an entry to index.json; "" is an entry without a tag.
  void Tag(const std::string& tag, Descriptor entry);

 private:
  const std::string directory_;
  ImageIndex index_;
};

}  // namespace farm

#endif  // FARM_OCI_TESTING_TEST_LAYOUT_H_
