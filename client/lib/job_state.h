// What clients know of a job's states.
#ifndef GRADWATCH_CLIENT_LIB_JOB_STATE_H_
#define GRADWATCH_CLIENT_LIB_JOB_STATE_H_

#include "gradwatch/v1/job.pb.h"

namespace gradwatch::client {

// Whether a job in this state has ended.
inline bool IsFinal(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED || state == v1::JOB_STATE_STOPPED;
}

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_JOB_STATE_H_
