"""Residual networks and torchvision's models as models of the variants."""

import urllib.error
from dataclasses import replace

import pytest
import torch
from conftest import CLASSES, make_runner, write_pets
from torch import nn
from torchvision import models as torchvision_models

from repro import config
from repro.data.sources import load
from repro.data.types import ImageSet
from repro.errors import UserError
from repro.export import export
from repro.models import torchvision_nets
from repro.report.variants import tables
from repro.training import compute
from repro.training.recipe import Recipe
from repro.training.trainer import TrainerContext
from repro.variants import experiment, methods, models
from repro.variants.features import FeatureExtractor
from repro.variants.models import Shape
from repro.variants.runner import VariantsRunner
from repro.variants.runs import Arm, teacher_run
from repro.variants.settings import VariantsSettings
from repro.variants.training import Distillation, DistillationTrainer
from repro.variants.wrapped import WrappedNetwork

RESNET, SMALL, RANDOM = "resnet:resnet20", "torchvision:resnet18", "torchvision:mobilenet_v3_small"


def shape(text, **changed):
    return Shape.model_validate({"kind": text.partition(":")[0], "name": text.partition(":")[2]} | changed)


@pytest.fixture
def few(stripy):
    """A tenth of the images."""
    parts = {
        name: ImageSet(part.images[: 8 * n], part.labels[: 8 * n])
        for name, part, n in (
            ("train", stripy.train, 10),
            ("validation", stripy.validation, 5),
            ("test", stripy.test, 5),
        )
    }
    return replace(stripy, **parts)


def colored(data):
    parts = {name: getattr(data, name) for name in ("train", "validation", "test")}
    parts = {name: ImageSet(part.images.repeat(1, 3, 1, 1), part.labels) for name, part in parts.items()}
    return replace(data, **parts)


def test_initial_weights_are_a_function_of_the_seed_alone(few):
    before = torch.get_rng_state()
    for text in (RESNET, RANDOM):
        first, second, other = (models.make(shape(text), few, seed).state_dict() for seed in (3, 3, 4))
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert not all(torch.equal(first[name], other[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), before)


def test_parameters_and_macs_are_counted(few):
    net = models.make(shape(SMALL), few, 0)
    assert models.num_parameters(shape(SMALL), few) == sum(parameter.numel() for parameter in net.parameters())
    data = replace(colored(few), classes=tuple(map(str, range(100))))
    data = replace(data, train=ImageSet(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.zeros(1)))
    blocks = 9 * 16 * 16 * 32**2 * 6 + 2 * (9 * 16 * 32 * 16**2 + 5 * 9 * 32 * 32 * 16**2 + 16 * 32 * 16**2)
    assert models.macs(shape(RESNET), data) == 9 * 3 * 16 * 32**2 + blocks + 64 * 100


def test_a_first_convolution_is_fitted_to_gray_and_to_small_images(few):
    plain, fitted = models.make(shape(SMALL), few, 0), models.make(shape(SMALL, small_images=True), few, 0)
    assert plain.module.conv1.weight.shape == (64, 1, 7, 7) and isinstance(plain.module.maxpool, nn.MaxPool2d)
    assert fitted.module.conv1.weight.shape == (64, 1, 3, 3) and fitted.module.conv1.stride == (1, 1)
    assert isinstance(fitted.module.maxpool, nn.Identity)
    assert models.make(shape(RANDOM), colored(few), 0)(colored(few).test.images[:2]).shape == (1, 2, CLASSES)


def test_bytes_are_normalized_as_those_of_the_other_networks(few):
    net, given = models.make(shape(RESNET), few, 0), []
    net.module.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    net(few.test.images[:3])
    torch.testing.assert_close(given[0], (few.test.images[:3].float() - 128) / 64)


def test_training_in_bf16_gives_fp32_logits_and_evaluation_is_in_fp32(few):
    net = models.make(shape(RESNET), few, 0)
    features = FeatureExtractor(net, ["layer2"], "the student")
    exact = net.logits(few.test.images)
    net.train()
    net.dtype = torch.bfloat16
    output = features(few.train.images[:8])
    assert output.logits.dtype == torch.float32 and output.features["layer2"].dtype == torch.bfloat16
    rounded = output.logits.bfloat16().float()
    assert not torch.equal(rounded, output.logits)  # the head multiplies in fp32
    moved = net.module.bn1.running_mean.clone()
    assert moved.abs().sum() > 0  # training moves the statistics
    again = net.logits(few.test.images)
    assert net.training and net.dtype == torch.bfloat16 and torch.equal(net.module.bn1.running_mean, moved)
    assert not torch.equal(again, exact) and again.dtype == torch.float32
    net.eval()
    net.dtype = torch.float32
    with torch.no_grad():
        torch.testing.assert_close(again, net(few.test.images))


def test_features_have_the_modules_own_names(few):
    net = models.make(shape(SMALL), few, 0)
    sample = FeatureExtractor(net, ["layer3", "layer1.0.bn1"], "the student").sample(few.train.images[:2])
    assert sample.features["layer3"].shape == (2, 256, 1, 1)
    assert sample.features["layer1.0.bn1"].min() < 0  # no ReLU has changed it in place
    with pytest.raises(UserError, match=r"the model changes the output of layer1\.0\.bn2 in place"):
        FeatureExtractor(net, ["layer1.0.bn2"], "the student").sample(few.train.images[:2])


def test_a_missing_module_is_explained_by_names_that_can_be_used(few):
    net = models.make(shape(SMALL), few, 0)
    with pytest.raises(UserError) as error:
        FeatureExtractor(net, ["layer3.0.bn"], "the student")
    assert "layer3.0.bn is no module of this model; its modules are conv1, bn1, relu, maxpool, layer1," in str(
        error.value
    )
    assert "and those inside, such as layer3." in str(error.value)
    assert "module." not in str(error.value)


def trainer(data, checkpoint, student=RANDOM):
    method = methods.find("feature_maps")
    options = method.Options(pairs=[("features.8", "layer2")])
    recipe = Recipe(epochs=1, batch_size=16, optimizer="sgd", learning_rate=0.02, max_translation=1)
    context = TrainerContext(recipe=recipe, compute=compute.choose("cpu", "fp32"), checkpoint=checkpoint)
    teacher = models.make(shape(RESNET), data, 1)
    distillation = Distillation(method, options, teacher)
    net = models.make(shape(student), data, 3)
    return DistillationTrainer(student=net, distillation=distillation, data=data, seed=3, context=context)


def test_a_resumed_training_with_dropout_is_bit_identical(few, tmp_path, monkeypatch):
    monkeypatch.setattr(DistillationTrainer, "_checkpoint_due", lambda trainer: trainer.step == 2)
    teacher_before = models.make(shape(RESNET), few, 1).state_dict()

    class Killed(Exception):
        pass

    def stop():
        if first.step == 3:
            raise Killed

    first = trainer(few, tmp_path / "a")
    assert first.net.student.random
    with pytest.raises(Killed):
        list(first.run(on_step=stop))
    torch.rand(3)  # the state of the global generator does not matter
    resumed, whole = trainer(few, tmp_path / "a"), trainer(few, tmp_path / "b")
    assert resumed.step == 2
    for each in (resumed, whole):
        assert all(bool(snapshot.loss.isfinite().all()) for snapshot in each.run())
    parts, at_once = (each.net.state_dict() for each in (resumed, whole))
    assert all(torch.equal(parts[name], at_once[name]) for name in parts)
    for name, value in whole.teacher_net.state_dict().items():
        assert torch.equal(value, teacher_before[name])


def test_dropout_differs_from_step_to_step(few):
    net = models.make(shape(RANDOM), few, 3).train()
    for module in net.modules():  # so that nothing but dropout differs between steps
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    first, second = net(few.train.images[:4]), net(few.train.images[:4])
    net.steps.zero_()
    assert not torch.equal(first, second) and torch.equal(first, net(few.train.images[:4]))


@pytest.fixture
def pretrained(monkeypatch):
    """A ResNet in place of the downloaded one."""
    net = torchvision_models.resnet18()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: net.state_dict())
    return net


def test_pretrained_weights_keep_all_but_a_head_of_other_classes(few, pretrained):
    chosen = shape(SMALL, weights="DEFAULT")
    assert str(chosen) == "torchvision:resnet18 (IMAGENET1K_V1)"
    for data in (few, colored(few)):
        net = models.make(chosen, data, 0)
        assert torch.equal(net.module.layer4[0].conv1.weight, pretrained.layer4[0].conv1.weight)
        assert net.module.fc.weight.shape == (CLASSES, 512)
    pretrained.eval()
    thousand = replace(colored(few), classes=tuple(map(str, range(1000))))
    images = few.test.images[:2]
    pixels = images.repeat(1, 3, 1, 1) / 255
    mean, deviation = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = pretrained((pixels - mean) / deviation)
    torch.testing.assert_close(models.make(chosen, thousand, 0).logits(images.repeat(1, 3, 1, 1))[0], expected)
    # A gray image gives nearly the same; not exactly, as its normalization is the mean of the channels'.
    gray = models.make(chosen, replace(thousand, train=few.train), 0).logits(images)[0]
    assert torch.corrcoef(torch.stack([gray.flatten(), expected.flatten()]))[0, 1] > 0.9


def test_a_missing_download_is_one_line_that_names_the_cause(few, monkeypatch):
    def fail(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(UserError, match=r"^weights IMAGENET1K_V1 of resnet18: cannot be downloaded .*no route to host"):
        models.make(shape(SMALL, weights="DEFAULT"), few, 0)


def test_images_that_a_model_does_not_take_are_refused_before_training(few):
    with pytest.raises(UserError, match="torchvision:squeezenet1_1: does not take images of 16x16 pixels"):
        models.make(shape("torchvision:squeezenet1_1"), few, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "student.shape=torchvision:resnet19",
            "student.shape.name: must be a classification model of torchvision, such",
        ),
        ("student.shape=torchvision:zzz", "of torchvision, one of alexnet, convnext_base"),
        ("student.shape=resnet:resnet8", "student.shape.name: must be one of resnet20, resnet56"),
        ('student.shape={kind="resnet"}', "name for kinds resnet and torchvision"),
        ('student.shape={kind="conv",width=2,name="resnet18"}', "name for kinds resnet and torchvision"),
        ('student.shape={kind="torchvision",name="vgg11",small_images=true}', "known for ResNets alone"),
        ('student.shape={kind="resnet",name="resnet20",small_images=true}', "but for kind torchvision"),
        ('student.shape={kind="conv",width=2,weights="DEFAULT"}', "but for kind torchvision"),
        (
            'student.shape={kind="torchvision",name="resnet18",weights="IMAGENET1K_V3"}',
            "student.shape.weights: must be pretrained weights of resnet18, such as IMAGENET1K_V1",
        ),
        ("student.recipe.max_norm=2", "recipe.max_norm must be left out for models of kind torchvision"),
    ],
)
def test_bad_shapes_are_refused_by_name(change, message):
    with pytest.raises(UserError, match=message):
        config.load(VariantsSettings, config.profile_path("variants", "smoke_resnet"), [change])


def test_settings_of_the_other_kinds_are_written_as_before():
    conv, mlp = Shape(kind="conv", width=4), Shape(kind="mlp", hidden=(8, 8))
    assert conv.model_dump(mode="json") == {"kind": "conv", "hidden": [], "width": 4} and str(conv) == "conv:4"
    assert mlp.model_dump(mode="json") == {"kind": "mlp", "hidden": [8, 8], "width": None} and str(mlp) == "mlp:8-8"
    small = shape(SMALL, small_images=True)
    assert str(small) == "torchvision:resnet18 (small images)" and shape(SMALL).model_dump()["name"] == "resnet18"


def test_normalization_of_pretrained_weights_is_their_own():
    assert torchvision_nets.normalization("resnet18", "IMAGENET1K_V1", 3)[0] == [0.485, 0.456, 0.406]
    assert torchvision_nets.normalization("inception_v3", "IMAGENET1K_V1", 1) == ([0.5], [0.5])


def test_the_smoke_profile_runs_from_data_to_tables(few, tmp_path):
    changes = ["max_train_examples=80", "student.recipe.batch_size=40", "teacher.recipe.batch_size=40"]
    settings = config.load(VariantsSettings, config.profile_path("variants", "smoke_resnet"), changes)
    settings = settings.model_copy(update={"methods": settings.methods[:4]})  # without those that see logits alone
    (tmp_path / "runs").mkdir()
    runner = make_runner(tmp_path / "runs" / "variants", settings, few, VariantsRunner)
    experiment.run(settings, runner, lambda _: None)
    finished = list(runner.finished.values())
    table = tables.methods(finished)
    assert set(table["method"]) == {plan.name for plan in settings.methods} and table["ours"].notna().all()
    teacher = next(record for record in finished if record["arm"] == Arm.TEACHER)
    assert teacher["settings"]["shape"] == RESNET and teacher["metrics"]["parameters"] > 270_000
    assert isinstance(runner.net_of(teacher_run(settings)), WrappedNetwork)
    files = export("variants", "teacher", 0, {}, tmp_path / "runs", tmp_path / "out")
    assert tmp_path / "out" / "architecture.py" in files


def test_a_classifier_of_ones_own_is_distilled_as_the_documentation_says(tmp_path):
    write_pets(tmp_path)
    changes = [
        f'data.folder="{tmp_path / "pets"}"', "seeds=1", "timing_steps=1",
        *(f"{model}.recipe.{name}" for model in ("teacher", "student") for name in ("epochs=1", "batch_size=24")),
        'methods=[{name="no KD",method="none"},{name="KD",method="kd"}]',
    ]  # fmt: skip
    settings = config.load(VariantsSettings, config.profile_path("variants", "classifier"), changes)
    runner = make_runner(tmp_path / "runs", settings, load(settings.data, None), VariantsRunner)
    experiment.run(settings, runner, lambda _: None)
    rows = [record for record in runner.finished.values() if record["arm"] == Arm.METHOD]
    assert {record["params"]["name"] for record in rows} == {"no KD", "KD"}
    assert rows[0]["settings"]["shape"] == "torchvision:mobilenet_v3_small"
