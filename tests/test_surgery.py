"""Dense layers as convolutions, and the bilinear kernel."""

import keras
import numpy as np
import pytest
import skimage
import tensorflow as tf
from keras import layers
from PIL import Image

from utils import surgery, vgg16


def photos(folder, count, size):
    """Return real photographs (count, size, size, 3), float32 0..255."""
    paths = sorted((folder / "images").glob("*.jpg"))[:: 500 // count][:count]
    return np.stack(
        [
            np.float32(Image.open(path).convert("RGB").resize((size, size)))
            for path in paths
        ]
    )


def cat_crops(count, size):
    """Return overlapping crops of scikit-image's cat, for where no sample lies."""
    cat = np.float32(skimage.data.chelsea())
    offsets = np.linspace(0, 76, count, dtype=int)
    return np.stack([cat[y : y + size, 2 * y : 2 * y + size] for y in offsets])


def small_classifier(padding="same", size=16, end=()):
    """Return a classifier with two poolings and biases that are not zero."""
    model = keras.Sequential(
        [
            keras.Input((size, size, 3)),
            layers.Conv2D(6, 3, padding=padding, activation="relu", name="convolution"),
            layers.MaxPooling2D(2),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(8, activation="relu", name="fc1"),
            layers.Dropout(0.5),
            layers.Dense(8, activation="tanh", use_bias=False, name="fc2"),
            layers.Dense(5, name="predictions"),
            *end,
        ]
    )
    random = np.random.default_rng(1)
    model.set_weights(
        [
            random.uniform(0.1, 1, w.shape)
            if w.ndim == 1
            else random.normal(0, np.prod(w.shape[:-1]) ** -0.5, w.shape)
            for w in model.get_weights()
        ]
    )
    return model


def random_images(height, width, count=2):
    random = np.random.default_rng(0)
    return random.uniform(0, 1, (count, height, width, 3)).astype("float32")


@pytest.fixture(scope="module")
def vgg():
    """VGG16 with real convolutions, dense layers of full width, biases not zero."""
    keras.utils.set_random_seed(0)
    classifier = vgg16.build(num_classes=10)
    vgg16.load_imagenet_weights(classifier, "package_index")
    random = np.random.default_rng(0)
    for name in ("fc1", "fc2", "predictions"):
        layer = classifier.get_layer(name)
        layer.bias.assign(random.normal(0, 0.1, layer.bias.shape))
    return classifier, surgery.convolutionize(classifier)


def largest_difference(vgg, images):
    """Return the largest difference of logits as a part of their range."""
    classifier, network = vgg
    dense = classifier.predict(images, batch_size=4, verbose=0)
    convolutional = network.predict(images, batch_size=4, verbose=0)
    assert convolutional.shape == (len(images), 1, 1, 10)
    return np.abs(dense - convolutional[:, 0, 0]).max() / np.ptp(dense)


@pytest.mark.slow
def test_logits_of_16_real_photos_are_the_same(vgg, sample):
    assert largest_difference(vgg, photos(sample, 16, 224)) <= 1e-4


@pytest.mark.slow
def test_logits_of_the_cat_are_the_same(vgg):
    assert largest_difference(vgg, cat_crops(4, 224)) <= 1e-4


@pytest.mark.slow
def test_vgg_keeps_names_parameters_and_leaves_the_classifier(vgg):
    classifier, network = vgg
    expected = [layer.name for layer in classifier.layers if layer.name != "flatten"]
    assert [layer.name for layer in network.layers] == expected
    for name, kernel in {
        "fc1": (7, 7, 512, 4096),
        "fc2": (1, 1, 4096, 4096),
        "predictions": (1, 1, 4096, 10),
    }.items():
        assert network.get_layer(name).kernel.shape == kernel
        assert network.get_layer(name).count_params() == (
            classifier.get_layer(name).count_params()
        )
    first = classifier.get_layer("block1_conv1"), network.get_layer("block1_conv1")
    assert first[0] is not first[1]
    assert isinstance(classifier.get_layer("fc1"), layers.Dense)


@pytest.mark.parametrize("height, width", [(224, 224), (256, 320), (351, 288)])
@pytest.mark.slow
def test_grid_side_is_a_thirty_second_less_six(vgg, height, width):
    _, network = vgg
    shape = (1, height // 32 - 6, width // 32 - 6, 10)
    assert network.compute_output_shape((1, height, width, 3)) == shape
    if (height, width) == (256, 320):
        assert network(random_images(height, width, 1)).shape == shape


def test_every_window_of_a_network_without_padding_is_exact():
    classifier = small_classifier(padding="valid", size=18)
    network = surgery.convolutionize(classifier)
    images = random_images(26, 34)  # grid of stride 4
    scores = network(images).numpy()
    assert scores.shape == (2, 3, 5, 5)
    for y in range(3):
        for x in range(5):
            window = images[:, 4 * y : 4 * y + 18, 4 * x : 4 * x + 18]
            np.testing.assert_allclose(
                scores[:, y, x], classifier(window), rtol=1e-4, atol=1e-5
            )


def test_padding_makes_windows_differ():
    classifier = small_classifier(padding="same")
    images = random_images(24, 24)
    scores = surgery.convolutionize(classifier)(images).numpy()
    window = classifier(images[:, 4:20, 4:20]).numpy()
    assert np.abs(scores[:, 1, 1] - window).max() > 1e-3


def test_functional_and_nested_classifiers_convert_too():
    flat = small_classifier()
    image = keras.Input((16, 16, 3))
    x = image
    for layer in flat.layers:
        copy = type(layer).from_config(layer.get_config())
        x = copy(x)
    functional = keras.Model(image, x)
    functional.set_weights(flat.get_weights())
    trunk = keras.Sequential([keras.Input((16, 16, 3)), *flat.layers[:4]])
    nested = keras.Sequential([trunk, *flat.layers[4:]])
    images = random_images(16, 16)
    for classifier in (functional, nested):
        scores = surgery.convolutionize(classifier)(images)
        np.testing.assert_allclose(scores[:, 0, 0], flat(images), rtol=1e-5, atol=1e-6)


def test_what_stands_between_dense_layers_survives():
    classifier = small_classifier(
        end=[layers.BatchNormalization(), layers.Softmax()],
    )
    network = surgery.convolutionize(classifier)
    images = random_images(20, 16)
    np.testing.assert_allclose(network(images).numpy().sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        network(images[:, :16])[:, 0, 0], classifier(images[:, :16]), rtol=1e-5
    )
    assert any(isinstance(layer, layers.Dropout) for layer in network.layers)


def test_statistics_of_a_normalization_layer_are_used():
    normalization = layers.Normalization()
    normalization.adapt(random_images(8, 8) * 50 + 10)
    classifier = keras.Sequential(
        [keras.Input((8, 8, 3)), normalization, layers.Flatten(), layers.Dense(2)]
    )
    images = random_images(8, 8) * 50
    np.testing.assert_allclose(
        surgery.convolutionize(classifier)(images)[:, 0, 0],
        classifier(images),
        rtol=1e-4,
        atol=1e-5,
    )


def test_the_flatten_order_matters():
    classifier = small_classifier()
    network = surgery.convolutionize(classifier)
    images = random_images(16, 16)
    kernel, bias = classifier.get_layer("fc1").get_weights()  # (4 * 4 * 6, 8)
    channels_first = kernel.reshape(6, 4, 4, 8).transpose(1, 2, 0, 3)
    network.get_layer("fc1").set_weights([channels_first, bias])
    difference = np.abs(network(images)[:, 0, 0] - classifier(images)).max()
    assert difference > 0.05 * np.ptp(classifier(images))


def test_convolution_weights_against_a_loop():
    random = np.random.default_rng(0)
    kernel, bias = random.normal(size=(2 * 3 * 4, 5)), random.normal(size=5)
    image = random.normal(size=(2, 3, 4))
    converted, same_bias = surgery.convolution_weights(kernel, bias, 2, 3)
    total = same_bias.copy()
    for y in range(2):
        for x in range(3):
            for c in range(4):
                total += image[y, x, c] * converted[y, x, c]
    np.testing.assert_allclose(total, image.ravel() @ kernel + bias)


def test_convolution_weights_refuses_a_wrong_size():
    with pytest.raises(ValueError, match="does not fit a map of 2x2"):
        surgery.convolution_weights(np.zeros((25, 3)), np.zeros(3), 2, 2)


def refused():
    """Yield what cannot be converted, and a part of the sentence that says why."""
    image = keras.Input((8, 8, 3))
    convolution = layers.Conv2D(4, 3, name="convolution")
    yield keras.Sequential([image, convolution]), "no dense layer"
    for pooling in (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D):
        yield keras.Sequential([image, pooling(), layers.Dense(2)]), "pools globally"
    unknown = "no map of known height and width"
    yield keras.Sequential([keras.Input((12,)), layers.Dense(2)]), unknown
    # An image of any size, flattened in the belief that it is 4x4.
    any_size = keras.Input((None, None, 3))
    flat = layers.Reshape((48,))(layers.Flatten()(any_size))
    yield keras.Model(any_size, layers.Dense(2)(flat)), unknown
    first = layers.Flatten(data_format="channels_first")
    yield keras.Sequential([image, first, layers.Dense(2)]), "channels first"
    x = convolution(image)
    branched = layers.Dense(2)(layers.Flatten()(layers.Add()([x, x])))
    yield keras.Model(image, branched), "plain chain"
    yield (
        keras.Sequential([image, layers.Flatten(), layers.Softmax(), layers.Dense(2)]),
        "mixes positions",
    )
    yield keras.Sequential([layers.Flatten(), layers.Dense(2)]), "starts with an Input"


@pytest.mark.parametrize("model, reason", list(refused()))
def test_convolutionize_says_in_one_sentence_what_it_cannot_do(model, reason):
    with pytest.raises(ValueError, match=reason) as refusal:
        surgery.convolutionize(model)
    sentence = str(refusal.value)
    assert "\n" not in sentence and sentence.endswith(".") and ". " not in sentence


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 8, 16, 32])
def test_bilinear_kernel_resizes_like_tensorflow_inside_the_frame(factor):
    channels = 2
    maps = np.random.default_rng(factor).normal(size=(1, 5, 6, channels))
    maps = maps.astype("float32")
    kernel = surgery.bilinear_kernel(factor, channels)
    assert kernel.shape == (2 * factor, 2 * factor, channels, channels)
    assert kernel.dtype == np.float32
    layer = layers.Conv2DTranspose(
        channels, 2 * factor, strides=factor, padding="same", use_bias=False
    )
    layer.build(maps.shape)
    layer.set_weights([kernel])
    enlarged = layer(maps).numpy()
    reference = tf.image.resize(maps, (5 * factor, 6 * factor), "bilinear").numpy()
    inside = slice(factor, -factor)
    np.testing.assert_allclose(
        enlarged[:, inside, inside], reference[:, inside, inside], atol=1e-5
    )


@pytest.mark.parametrize("factor", [1, 2, 3, 8])
def test_bilinear_kernel_is_a_partition_of_unity(factor):
    kernel = surgery.bilinear_kernel(factor, 3)
    # Every output pixel is reached by the taps a stride apart: they add up to one.
    taps = kernel.reshape(2, factor, 2, factor, 3, 3).sum((0, 2))
    np.testing.assert_allclose(taps, np.broadcast_to(np.eye(3), taps.shape), atol=1e-6)


@pytest.mark.parametrize("factor, channels", [(0, 1), (-2, 1), (2, 0)])
def test_bilinear_kernel_refuses_sizes_below_one(factor, channels):
    with pytest.raises(ValueError, match="must be at least 1"):
        surgery.bilinear_kernel(factor, channels)
