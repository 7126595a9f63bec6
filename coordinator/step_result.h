#ifndef FARM_COORDINATOR_STEP_RESULT_H_
#define FARM_COORDINATOR_STEP_RESULT_H_

#include "absl/status/status.h"
#include "proto/farm/v1/step.pb.h"

namespace farm {

// Whether `result` is one that a step of `identity` can have. It comes from a worker or from disk,
// and what stands on it takes its digests for granted. INTERNAL if not:
//
//   only a RUN has an exit code other than 0, and then there is no output to look at
//   RUN, COPY, WORKDIR, unpack,  a layer whose four digests are some
//   fetch file, fetch git
//   unpack of a known layer      that layer
//   compress, flatten            a blob whose digest is one
//   resolve git                  a commit with an id
//   push                         nothing
absl::Status CheckResult(const v1::StepIdentity& identity, const v1::StepResult& result);

}  // namespace farm

#endif  // FARM_COORDINATOR_STEP_RESULT_H_
