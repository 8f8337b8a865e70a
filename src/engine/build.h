/* SPDX-License-Identifier: Apache-2.0 */
/* The stages of zq_plan_new, in order. */
#ifndef ZQ_ENGINE_BUILD_H
#define ZQ_ENGINE_BUILD_H

#include "engine/step.h"

/* Slots with the shapes for this batch; refuses what can't be run. */
zq_status zq_build_slots(zq_plan *plan, zq_error *err);

/* Computes what depends on constants alone, such as DequantizeLinear of weights. */
zq_status zq_build_constants(zq_plan *plan, zq_error *err);

/* Chooses the steps. */
zq_status zq_build_steps(zq_plan *plan, zq_error *err);

/* Settles which values are half. */
zq_status zq_build_halves(zq_plan *plan, zq_error *err);

/* Lays values, gradients and scratch out in memory, by lifetime, and allocates it. */
zq_status zq_build_memory(zq_plan *plan, zq_error *err);

#endif
