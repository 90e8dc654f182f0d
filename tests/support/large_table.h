// A table as large as is wanted, and a job that learns from it.
#ifndef GRADWATCH_TESTS_SUPPORT_LARGE_TABLE_H_
#define GRADWATCH_TESTS_SUPPORT_LARGE_TABLE_H_

#include <cstdint>
#include <string>

#include "gradwatch/v1/job.pb.h"

namespace gradwatch::testing {

// Writes a table of eight columns and of about so many bytes.
void WriteTable(const std::string& path, int64_t bytes);

// Ten steps on the table `file`, whose last column follows from the others.
v1::JobSpec TableJob(const std::string& file);

}  // namespace gradwatch::testing

#endif  // GRADWATCH_TESTS_SUPPORT_LARGE_TABLE_H_
