defmodule DSPex.Native.SignatureValidateTest do
  use ExUnit.Case, async: true

  alias DSPex.Native.Adapter.Validate
  alias DSPex.Signature

  defp problems(text, values) do
    {:error, error} = text |> Signature.parse!() |> Signature.validate_inputs(values)
    assert error.reason == :invalid_input
    Map.new(error.details["problems"], &{&1["path"], &1["message"]})
  end

  @tag req: ["FR1.2.2", "FR3.1.3"]
  test "all problems come at once, each with its path" do
    found =
      problems("a: int, b: list[dict[str, int]], c, d: bool -> z", %{a: "x", b: [%{k: 1}, %{k: "no"}], d: "yes", e: 1})

    assert Map.keys(found) == [["a"], ["b", 1, "k"], ["c"], ["e"]]
    assert found[["c"]] =~ "missing"
    assert found[["e"]] =~ "no input `e`"
  end

  @tag req: ["FR1.2.2", "FR1.2.3"]
  test "constraints are checked after the coercion" do
    text =
      "n: Annotated[int, Field(ge=1, le=5, multiple_of=2)], s: Annotated[str, Field(min_length=2, pattern='^a')] -> z"

    assert {:ok, %{"n" => 4, "s" => "ab"}} = text |> Signature.parse!() |> Signature.validate_inputs(n: "4", s: "ab")
    assert %{["n"] => _too_much, ["s"] => _short} = problems(text, n: 7, s: "b")
    assert problems("l: list[Annotated[float, Field(gt=0)]] -> z", l: [1, -1])[["l", 1]] =~ "greater than 0"
  end

  @tag req: ["FR1.2.2", "FR1.2.3"]
  test "values are coerced as pydantic's lax mode does" do
    for {type, given, expected} <- [
          {:int, "1_000", 1000},
          {:int, " 5.00 ", 5},
          {:int, 3.0, 3},
          {:int, true, 1},
          {:float, 2, 2.0},
          {:float, "1e3", 1000.0},
          {:float, "-inf", :neg_infinity},
          {:bool, "Off", false},
          {:bool, 1.0, true},
          {{:list, [:int]}, {:tuple, ["1", 2]}, [1, 2]},
          {{:set, [:int]}, ["1", 1], {:set, [1]}},
          {{:tuple, [:int, :str]}, ["1", "x"], {:tuple, [1, "x"]}},
          {{:dict, [:int, :bool]}, {[{"7", "y"}]}, {[{7, true}]}},
          {{:class, "datetime.date"}, "2024-01-02T00:00:00", {:date, "2024-01-02"}},
          {{:class, "datetime.datetime"}, 0, {:datetime, "1970-01-01T00:00:00+00:00"}},
          {{:class, "datetime.datetime"}, "2024-02-29 10:11:12.5Z", {:datetime, "2024-02-29T10:11:12.500000+00:00"}},
          {{:class, "datetime.time"}, "10:11", {:time, "10:11:00"}},
          {{:class, "datetime.timedelta"}, "P1DT2H", {:timedelta, "P1DT7200S"}},
          {{:class, "decimal.Decimal"}, "1.50", {:decimal, "1.50"}},
          {{:class, "uuid.UUID"}, "12345678123456781234567812345678", {:uuid, "12345678-1234-5678-1234-567812345678"}}
        ] do
      assert {type, Validate.value(given, type)} == {type, {:ok, expected}}
    end
  end

  @tag req: "FR1.2.2"
  test "what pydantic refuses is refused" do
    for {type, given} <- [
          {:str, 5},
          {:int, 1.5},
          {:int, "1e3"},
          {:int, "0x10"},
          {:int, nil},
          {:bool, 2},
          {:bool, " yes"},
          {{:list, [:int]}, "12"},
          {{:list, [:int]}, {[]}},
          {{:tuple, [:int]}, [1, 2]},
          {{:literal, [1]}, "1"},
          {{:class, "datetime.date"}, "2024-01-02T00:00:01"},
          {{:class, "datetime.datetime"}, "2023-02-29"},
          {{:class, "decimal.Decimal"}, "one"},
          {{:class, "uuid.UUID"}, "1234"},
          {{:dspy, "Image"}, {[{"url", "/etc/passwd"}]}}
        ] do
      assert {:error, [{[], _why}]} = Validate.value(given, type)
    end
  end

  @tag req: "FR1.2.3"
  test "a union takes the member that fits best" do
    assert Validate.value(true, {:union, [:int, :bool]}) == {:ok, true}
    assert Validate.value("5", {:union, [:int, :str]}) == {:ok, "5"}
    assert Validate.value(1, {:union, [:float, :str]}) == {:ok, 1.0}

    small =
      {:model, %{name: "Small", schema: {[{"properties", {[{"a", {[{"type", "integer"}]}}]}}, {"required", ["a"]}]}}}

    both = {[{"a", {[{"type", "integer"}]}}, {"b", {[{"type", "integer"}]}}]}
    large = {:model, %{name: "Large", schema: {[{"properties", both}]}}}
    assert {:ok, {:model, "Large", _pairs}} = Validate.value({[{"a", 1}, {"b", 2}]}, {:union, [small, large]})
    assert {:ok, {:model, "Small", _pairs}} = Validate.value({[{"a", 1}]}, {:union, [small, large]})
  end

  @tag req: "FR1.2.3"
  test "a schema that points to itself or nowhere ends" do
    tree = {[{"$ref", "#/$defs/T"}, {"$defs", {[{"T", {[{"$ref", "#/$defs/T"}]}}]}}]}
    assert {:error, _problems} = Validate.value({[]}, {:model, %{name: "T", schema: tree}})
    nowhere = {[{"properties", {[{"a", {[{"$ref", "#/$defs/Gone"}]}}]}}]}
    assert {:error, [{["a"], text}]} = Validate.value({[{"a", 1}]}, {:model, %{name: "N", schema: nowhere}})
    assert text =~ "Gone"
  end

  @tag req: "FR3.1.3"
  test "deep values are refused, not followed for ever" do
    deep = Enum.reduce(1..5000, 1, fn _index, inner -> {[{"children", [inner]}]} end)

    schema =
      {[
         {"$defs",
          {[{"T", {[{"properties", {[{"children", {[{"type", "array"}, {"items", {[{"$ref", "#/$defs/T"}]}}]}}]}}]}}]}},
         {"$ref", "#/$defs/T"}
       ]}

    assert {:error, [{_path, text}]} = Validate.value(deep, {:model, %{name: "T", schema: schema}})
    assert text =~ "nested too deeply"
  end

  @tag req: "FR1.2.4"
  test "values come back as plain Elixir" do
    signature = Signature.parse!("x -> d: datetime.date, t: tuple[int, str], s: set[int], b: bytes")
    given = %{d: "2024-01-02", t: [1, "a"], s: [1, 1], b: "raw"}
    assert {:ok, outputs} = Signature.validate_outputs(signature, given)

    assert outputs == %{
             "d" => ~D[2024-01-02],
             "t" => {1, "a"},
             "s" => MapSet.new([1]),
             "b" => %DSPex.Bytes{data: "raw"}
           }
  end
end
