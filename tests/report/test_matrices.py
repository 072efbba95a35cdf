"""Confusion matrices that can be read."""

import numpy as np

from mge.report.matrices import as_matrix, cluster, confused_block


def test_classes_that_are_taken_for_each_other_become_neighbors() -> None:
    counts = np.eye(6, dtype=np.int64) * 5
    counts[0, 4] = counts[4, 0] = counts[1, 5] = counts[2, 3] = 5
    order = cluster(counts)
    assert sorted(order) == list(range(6))
    for first, second in ((0, 4), (1, 5), (2, 3)):
        assert abs(order.index(first) - order.index(second)) == 1


def test_one_or_two_classes_have_no_order_to_find() -> None:
    assert cluster(np.array([[3]])) == [0]
    assert cluster(np.array([[3, 1], [0, 2]])) == [0, 1]


def test_a_class_without_photos_is_put_somewhere() -> None:
    assert sorted(cluster(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 2]]))) == [0, 1, 2]


def test_the_block_holds_the_worst_pairs_side_by_side() -> None:
    pairs = [(7, 2), (5, 1), (2, 9), (0, 3)]
    assert confused_block(pairs, at_most=5) == [7, 2, 5, 1, 9]
    assert confused_block(pairs, at_most=4) == [7, 2, 5, 1]
    assert confused_block([]) == []


def test_a_cell_says_its_count_and_its_share_of_all_photos_of_the_class() -> None:
    matrix = as_matrix(np.array([[3, 1, 4], [0, 0, 0], [2, 0, 6]]), ["a", "b", "c"], order=[2, 0])
    assert matrix.names == ["c", "a"]
    assert matrix.totals == [8, 8]
    assert [[cell.num_photos for cell in row] for row in matrix.rows] == [[6, 2], [4, 3]]
    assert matrix.rows[1][0].share == 0.5
    assert matrix.rows[0][0].is_diagonal
    assert not matrix.rows[0][1].is_diagonal
