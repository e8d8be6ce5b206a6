/* optimizer.c: norm of all gradients, clipping, SGD and AdamW.
 * Contract: docs/arithmetic.md, section 9. Python twin: golden/optimizer.py. */
#include "forward.h"
#include "ops.h"
#include "train.h"
#include "train_parts.h"

/* What a step has computed once for all elements. */
struct step {
    float factor; /* of clipping */
    float rate;   /* SGD: learning rate; AdamW: the same, corrected for the first moment's bias */
    float grow;   /* AdamW: correction of the second moment's bias */
    float shrink; /* weight decay */
};

float model_train_squares(const struct model_train *t, float total)
{
    for (uint32_t index = 0; index < t->parameter_count; index++) {
        const struct train_parameter p = model_train_parameter(t, index);
        const float *row = p.gradient;
        for (uint32_t r = 0; r < p.rows; r++, row += p.columns)
            total = total + dot8(row, row, p.columns);
    }
    return total;
}

static float shrink_of(const struct train_parameter *p, const struct step *step)
{
    int gain = p->kind == KIND_RMS_ATT || p->kind == KIND_RMS_FFN || p->kind == KIND_RMS_FINAL;
    return gain ? 1.0f : step->shrink;
}

static void sgd(const struct train_parameter *p, const struct train_settings *s, const struct step *step)
{
    uint32_t n = p->rows * p->columns;
    float shrink = shrink_of(p, step);

    for (uint32_t i = 0; i < n; i++) {
        float change = p->gradient[i] * step->factor;
        if (p->first != 0) {
            float kept = p->first[i] * s->momentum;
            change = kept + change;
            p->first[i] = change;
        }
        float shrunk = p->value[i] * shrink;
        p->value[i] = shrunk - change * step->rate;
    }
}

static void adamw(const struct train_parameter *p, const struct train_settings *s, const struct step *step)
{
    uint32_t n = p->rows * p->columns;
    float shrink = shrink_of(p, step);
    float rest1 = 1.0f - s->beta1;
    float rest2 = 1.0f - s->beta2;

    for (uint32_t i = 0; i < n; i++) {
        float gradient = p->gradient[i] * step->factor;
        float first = p->first[i] * s->beta1 + gradient * rest1;
        float second = p->second[i] * s->beta2 + (gradient * gradient) * rest2;
        p->first[i] = first;
        p->second[i] = second;
        float root = sqrt_ieee(second * step->grow);
        float change = (first * step->rate) / (root + s->epsilon);
        float shrunk = p->value[i] * shrink;
        p->value[i] = shrunk - change;
    }
}

/* Counts a step of AdamW. */
static void advance(struct model_train *t)
{
    const struct train_settings *s = &t->settings;

    if (s->optimizer == TRAIN_ADAMW) {
        t->power1 = t->power1 * s->beta1;
        t->power2 = t->power2 * s->beta2;
    }
}

static struct step prepare(const struct model_train *t)
{
    const struct train_settings *s = &t->settings;
    struct step step = {.factor = t->factor, .rate = s->learning_rate};

    step.shrink = 1.0f - s->learning_rate * s->weight_decay;
    if (s->optimizer == TRAIN_ADAMW) {
        step.rate = s->learning_rate / (1.0f - t->power1);
        step.grow = 1.0f / (1.0f - t->power2);
    }
    return step;
}

static void record_all(struct model_train *t, uint32_t first_op, int gradients)
{
    for (uint32_t index = 0; index < t->parameter_count; index++) {
        const struct train_parameter p = model_train_parameter(t, index);
        const struct layer at = {.number = p.layer};
        model_record(t->model, first_op + p.kind, &at, gradients ? p.gradient : p.value, p.rows * p.columns);
    }
}

void model_train_norm(struct model_train *t, float total)
{
    const struct train_settings *s = &t->settings;
    const struct layer nowhere = {.number = NO_LAYER};

    t->norm = sqrt_ieee(total);
    t->factor = s->clip > 0.0f && t->norm > s->clip ? s->clip / t->norm : 1.0f;
    const float norm_and_factor[] = {t->norm, t->factor};
    record_all(t, OP_GRAD_TOK_EMB, 1);
    model_record(t->model, OP_GRAD_NORM, &nowhere, norm_and_factor, 2);
}

void model_train_update(const struct model_train *t, const struct train_parameter *p)
{
    const struct step step = prepare(t);

    if (t->settings.optimizer == TRAIN_ADAMW)
        adamw(p, &t->settings, &step);
    else
        sgd(p, &t->settings, &step);
}

void model_train_apply(struct model_train *t)
{
    advance(t);
    for (uint32_t index = 0; index < t->parameter_count; index++) {
        const struct train_parameter p = model_train_parameter(t, index);
        model_train_update(t, &p);
        if (t->model->service != 0)
            t->model->service(t->model->service_context);
    }
    record_all(t, OP_PARAM_TOK_EMB, 0);
}
