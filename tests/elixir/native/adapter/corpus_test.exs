defmodule DSPex.Native.AdapterCorpusTest do
  use ExUnit.Case, async: true

  alias DSPex.Native.Adapter.PythonJson
  alias DSPex.Native.Adapter.Repair
  alias DSPex.Native.Adapter.Validate
  alias DSPex.Native.Python
  alias DSPex.Signature

  @corpus Path.expand("../../../vectors/corpora/python_values.json", __DIR__)
  @external_resource @corpus

  setup_all do
    {:ok, {corpus}} = @corpus |> File.read!() |> PythonJson.decode()
    Map.new(corpus)
  end

  defp type(text) do
    field = "q -> a: #{text}" |> Signature.parse!() |> Signature.fields() |> List.last()
    if field.metadata == [], do: field.type, else: {:annotated, field.type, field.metadata}
  end

  defp shown({:ok, value}), do: value |> sorted() |> Python.repr()
  defp shown({:error, [_problem | _more]}), do: nil

  # Sets have no order.
  defp sorted({:set, items}), do: {:set, items |> Enum.map(&sorted/1) |> Enum.sort_by(&Python.repr/1)}
  defp sorted({:tuple, items}), do: {:tuple, Enum.map(items, &sorted/1)}
  defp sorted(items) when is_list(items), do: Enum.map(items, &sorted/1)
  defp sorted(value), do: value

  @tag req: ["FR3.2.4", "FR1.2.2", "FR1.2.3"]
  test "values are taken, coerced and refused as pydantic does", %{"pydantic" => rows} do
    assert length(rows) > 2000

    for [type, value, text] <- rows,
        do: assert({type, value, shown(Validate.value(value, type(type)))} == {type, value, text})
  end

  @tag req: "FR3.2.4"
  test "broken JSON is read as json_repair reads it", %{"json_repair" => rows} do
    assert length(rows) >= 600

    for [broken, text] <- rows do
      assert {:ok, value} = Repair.loads(broken)
      assert {broken, Python.repr(value)} == {broken, text}
    end
  end

  @tag req: "FR3.2.4"
  test "values that come from a caller as Python has them are exact" do
    for {type, value} <- [
          {"datetime.timedelta", {:timedelta, "P1DT2S"}},
          {"datetime.date", {:date, "2024-01-02"}},
          {"uuid.UUID", {:uuid, "12345678-1234-5678-1234-567812345678"}},
          {"dspy.Code", {:dspy, "Code", [{"code", "x"}]}},
          {"tuple[int, str]", {:tuple, [1, "a"]}},
          {"set[int]", {:set, [1]}},
          {"Sequence[int]", {:tuple, [1]}},
          {"bytes", {:bytes, <<255>>}}
        ],
        do: assert({type, Validate.value(value, type(type))} == {type, {:ok, value}})

    assert Validate.value({:date, "2024-01-02"}, type("datetime.datetime")) == {:ok, {:datetime, "2024-01-02T00:00:00"}}
    assert Validate.value({:datetime, "2024-01-02T00:00:00"}, type("datetime.date")) == {:ok, {:date, "2024-01-02"}}
    assert {:error, [{[], text}]} = Validate.value({:date, "2024-01-02"}, type("uuid.UUID"))
    assert text =~ "uuid.UUID is expected, not datetime.date(2024, 1, 2)"
  end

  @tag req: ["FR1.2.3", "FR3.2.4"]
  test "limits of fields are checked after the coercion and named" do
    for {base, option, good, bad} <- [
          {:int, {"gt", 3}, "4", "3"},
          {:int, {"ge", 3}, 3, 2},
          {:float, {"lt", 1.5}, 1, 1.5},
          {:float, {"le", 1.5}, 1.5, 2},
          {:int, {"multiple_of", 3}, 9, 10},
          {:float, {"multiple_of", 0.1}, 0.3, 0.35},
          {:str, {"min_length", 2}, "éé", "é"},
          {:str, {"pattern", "^a+$"}, "aa", "b"},
          {{:list, [:int]}, {"max_length", 1}, [1], [1, 2]},
          {{:set, [:int]}, {"max_length", 1}, [1, 1], [1, 2]},
          {{:dict, [:str, :int]}, {"min_length", 1}, {[{"a", 1}]}, {[]}},
          {:bytes, {"max_length", 2}, {:bytes, "ab"}, {:bytes, "abc"}}
        ] do
      type = {:annotated, base, [{:field, [option]}]}
      assert {:ok, _value} = Validate.value(good, type)
      assert {:error, [{[], "must " <> _rest}]} = Validate.value(bad, type)
    end

    optional = {:annotated, {:union, [:int, :none]}, [{:field, [{"gt", 3}]}]}
    assert Validate.value(nil, optional) == {:ok, nil}
    assert {:error, [{[], text}]} = Validate.value("x", {:annotated, :str, [{:field, [{"pattern", "("}]}]})
    assert text =~ "is no regular expression"
  end

  @tag req: "FR3.2.4"
  test "Elixir's values have Python's text forms and come back" do
    for {value, repr, str} <- [
          {~D[2024-01-02], "datetime.date(2024, 1, 2)", "2024-01-02"},
          {~T[03:04:00], "datetime.time(3, 4)", "03:04:00"},
          {~N[2024-01-02 03:04:05.120000], "datetime.datetime(2024, 1, 2, 3, 4, 5, 120000)",
           "2024-01-02 03:04:05.120000"},
          {~U[2024-01-02 03:04:05Z], "datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)",
           "2024-01-02 03:04:05+00:00"},
          {MapSet.new(), "set()", "set()"},
          {%DSPex.Bytes{data: <<0, 255, ?'>>}, ~S(b"\x00\xff'"), ~S(b"\x00\xff'")},
          {{1}, "(1,)", "(1,)"},
          {:nan, "nan", "nan"},
          {:neg_infinity, "-inf", "-inf"},
          {"a\t'\u200b\u0085\u{10ffff}", ~S("a\t'\u200b\x85\U0010ffff"), "a\t'\u200b\u0085\u{10ffff}"}
        ] do
      assert {value, Python.repr(Python.from_elixir(value))} == {value, repr}
      assert {value, Python.str(Python.from_elixir(value))} == {value, str}
      assert Python.to_elixir(Python.from_elixir(value)) == value
    end

    assert Python.from_elixir(%{:a => :b, "c" => :timeout}) ==
             {[{"a", "b"}, {"c", "timeout"}]}

    assert Python.str({:enum, "Colour", "RED", 1}) == "Colour.RED"
    assert Python.repr({:enum, "Colour", "RED", 1}) == "<Colour.RED: 1>"
    assert Python.repr({:model, "Point", [{"x", 1}]}) == "Point(x=1)"
    assert Python.repr({:decimal, "1.5"}) == "Decimal('1.5')"

    assert Enum.map(
             [nil, true, 1, 1.0, "a", [], {[]}, {:enum, "E", "A", 1}, {:date, "2024-01-02"}],
             &Python.type_name/1
           ) ==
             ~w(NoneType bool int float str list dict E date)
  end

  @tag req: "FR3.2.4"
  test "a duration has Python's text forms, whatever its sign" do
    for {text, repr, str} <- [
          {"PT0S", "datetime.timedelta(0)", "0:00:00"},
          {"P1DT2H3M4S", "datetime.timedelta(days=1, seconds=7384)", "1 day, 2:03:04"},
          {"-PT0.5S", "datetime.timedelta(days=-1, seconds=86399, microseconds=500000)", "-1 day, 23:59:59.500000"},
          {"P30D", "datetime.timedelta(days=30)", "30 days, 0:00:00"}
        ] do
      assert {text, Python.repr({:timedelta, text})} == {text, repr}
      assert {text, Python.str({:timedelta, text})} == {text, str}
    end

    assert Python.str({:timedelta, "soon"}) == "soon"
    assert Python.repr({:timedelta, "soon"}) == "datetime.timedelta(soon)"
  end
end
