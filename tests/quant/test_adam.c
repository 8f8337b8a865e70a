/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/adam.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_near(double a, double b, double tolerance) {
    if (fabs(a - b) > tolerance)
        fail_msg("%.9g differs from %.9g by more than %g", a, b, tolerance);
}

/* Five steps on f(x) = sum of w x^2, computed with numpy in double. */
static void follows_the_formula(void **state) {
    (void)state;
    static const double expected[5][3] = {
        {0.8, -1.80000005, 0.3},
        {0.62124636, -1.61984412, 0.1267884},
        {0.49477897, -1.49037538, 0.01433613},
        {0.42993524, -1.4225793, -0.03523923},
        {0.41250741, -1.4039736, -0.04618548},
    };
    const float w[3] = {1, 0.01F, 100};
    float x[3] = {1, -2, 0.5F}, gradient[3];
    zq_adam adam;
    assert_int_equal(zq_adam_init(3, 1e-8, &adam, NULL), ZQ_OK);
    for (int step = 0; step < 5; step++) {
        for (int i = 0; i < 3; i++)
            gradient[i] = 2 * w[i] * x[i];
        zq_adam_step(&adam, zq_cosine_rate(0.2, step, 5), gradient, x);
        for (int i = 0; i < 3; i++)
            assert_near(x[i], expected[step][i], 1e-5);
    }
    zq_adam_clear(&adam);
}

static void a_zero_gradient_moves_nothing(void **state) {
    (void)state;
    const float gradient[2] = {0, 0};
    float x[2] = {3, -4};
    zq_adam adam;
    assert_int_equal(zq_adam_init(2, 0, &adam, NULL), ZQ_OK);
    zq_adam_clear(&adam);
    assert_int_equal(zq_adam_init(2, 1e-8, &adam, NULL), ZQ_OK);
    zq_adam_step(&adam, 0.5, gradient, x);
    assert_true(x[0] == 3 && x[1] == -4);
    zq_adam_clear(&adam);
}

static void cosine_falls_from_the_rate_to_zero(void **state) {
    (void)state;
    assert_near(zq_cosine_rate(0.2, 0, 20), 0.2, 1e-12);
    assert_near(zq_cosine_rate(0.2, 10, 20), 0.1, 1e-12);
    assert_near(zq_cosine_rate(0.2, 20, 20), 0, 1e-12);
}

static void plateau_divides_after_its_patience(void **state) {
    (void)state;
    zq_plateau plateau = zq_plateau_start(0.5, 3);
    const double losses[] = {5, 4, 4, 4.5}; /* two bests, then two stale steps */
    for (int i = 0; i < 4; i++)
        zq_plateau_update(&plateau, losses[i]);
    assert_near(plateau.rate, 0.5, 0);
    zq_plateau_update(&plateau, 4);
    assert_near(plateau.rate, 0.05, 1e-12);
    zq_plateau_update(&plateau, NAN); /* counts as no improvement */
    zq_plateau_update(&plateau, 9);
    zq_plateau_update(&plateau, 3);
    assert_near(plateau.rate, 0.05, 1e-12);
    assert_near(plateau.best, 3, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_formula),
        cmocka_unit_test(a_zero_gradient_moves_nothing),
        cmocka_unit_test(cosine_falls_from_the_rate_to_zero),
        cmocka_unit_test(plateau_divides_after_its_patience),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
