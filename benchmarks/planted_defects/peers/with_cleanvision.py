"""cleanvision (pip install cleanvision; 0.3.7): every picture below the root, all nine checks with their defaults."""

from collections.abc import Iterator

from benchmarks.planted_defects.peers import Issue, serve

FORMATS = ("folders", "yolo", "coco", "voc", "csv")
FITS = {
    4: "odd_size", 5: "odd_size", 6: "odd_aspect_ratio", 8: "grayscale", 9: "grayscale", 14: "dark", 15: "light",
    16: "low_information", 17: "blurry", 18: "low_information", 20: "dark light", 11: "grayscale",
    24: "exact_duplicates near_duplicates", 25: "near_duplicates", 26: "exact_duplicates", 27: "exact_duplicates",
    28: "near_duplicates", 30: "near_duplicates", 19: "low_information",
}  # fmt: skip


def issues(form: str, root: str) -> Iterator[Issue]:
    """One issue for each picture and check that it marks; the partners of a duplicate are named."""
    from cleanvision import Imagelab

    lab = Imagelab(data_path=root)
    lab.find_issues(n_jobs=1, verbose=False)
    for column in lab.issues.columns:
        if column.startswith("is_") and column.endswith("_issue"):
            kind = column[3:-6]
            for name in lab.issues.index[lab.issues[column]]:
                yield "warning", kind, str(name)


if __name__ == "__main__":
    serve(issues)
