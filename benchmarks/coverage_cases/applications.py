"""A network of each family of keras.applications, at 64 x 64 or the smallest image that it takes."""

SOURCE = "keras.applications"
NAMES = (
    "ConvNeXtTiny",
    "DenseNet121",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "MobileNetV3Large",
    "NASNetMobile",
    "ResNet50",
    "ResNet50V2",
    "VGG16",
    "Xception",
)
SIZES = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}


def network(name):
    def build():
        import keras

        size = SIZES.get(name, 64)
        return getattr(keras.applications, name)(
            weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None
        )

    return build


NETWORKS = {name: network(name) for name in NAMES}
