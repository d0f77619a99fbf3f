defmodule DSPex.Demo.TextTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureIO

  alias DSPex.Demo.Console
  alias DSPex.Demo.Table

  doctest Console
  doctest Table

  test "a table without rows is its header" do
    assert Table.render(["a", "bc"], []) == ["a  bc", "─  ──"]
  end

  test "floats have one decimal and stand at the right" do
    assert Table.render(["ms"], [[1.25], [10.0]]) == ["  ms", "────", " 1.3", "10.0"]
  end

  test "without a terminal the progress bar is a line a quarter" do
    shown = capture_io(fn -> for done <- 0..20, do: Console.progress(done, 20, done * 100) end)
    assert [quarter, _half, _three, full] = String.split(shown, "\n", trim: true)
    assert quarter =~ "5/20 0.5 s"
    assert full =~ "20/20 2.0 s"
  end

  test "a total that four does not divide ends with a full bar too" do
    shown = capture_io(fn -> for done <- 1..7, do: Console.progress(done, 7, 0) end)
    assert shown |> String.split("\n", trim: true) |> List.last() =~ "7/7"
  end

  test "long answers are wrapped below their first line" do
    shown = capture_io(fn -> Console.field("answer", String.duplicate("word ", 60)) end)
    assert ["   answer      word" <> _ | rest] = String.split(shown, "\n", trim: true)
    assert length(rest) >= 2
    for line <- rest, do: assert(String.starts_with?(line, String.duplicate(" ", 15) <> "word"))
  end

  test "no line has colour codes without a terminal" do
    shown =
      capture_io(fn ->
        Console.heading(1, "first")
        Console.note("aside")
        Console.lines(["a", "b"])
      end)

    refute shown =~ "\e["
    assert shown =~ "1. first"
    assert shown =~ "   a\n   b\n"
  end
end
