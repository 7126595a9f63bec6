#ifndef FARM_BASE_VERSION_H_
#define FARM_BASE_VERSION_H_

namespace farm {

// As `git describe` names this build in a release, else "dev".
const char* Version();

}  // namespace farm

#endif  // FARM_BASE_VERSION_H_
