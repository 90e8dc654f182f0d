// Gives protobuf's map fields the layout that they have in Debian's library; included first into every file of the tsan
// build, and only there.
//
// GCC says __SANITIZE_THREAD__, and protobuf's header then adds two members to MapFieldBase, which the library, built
// without the sanitizer, does not know: every message with a map (JobSpec) would be read and written at wrong places.
#ifndef GRADWATCH_TESTS_SUPPORT_TSAN_PROTOBUF_H_
#define GRADWATCH_TESTS_SUPPORT_TSAN_PROTOBUF_H_

#ifdef __SANITIZE_THREAD__
#undef __SANITIZE_THREAD__
#include <google/protobuf/map_field.h>
#define __SANITIZE_THREAD__ 1
#endif

#endif  // GRADWATCH_TESTS_SUPPORT_TSAN_PROTOBUF_H_
