defmodule DSPex.Native.Adapter.Repair.Numbers do
  @moduledoc false
  # Numbers of json_repair; what looks like one and is none is a text.

  import DSPex.Native.Adapter.Repair.Look

  alias DSPex.Native.Adapter.Repair.Look
  alias DSPex.Native.Python

  @number [?-, ?., ?e, ?E, ?/, ?,, ?_] ++ Enum.to_list(?0..?9)

  @doc "A number; `:text` where letters follow it."
  @spec parse(Look.t()) :: {Python.value(), Look.t()} | :text
  def parse(look) do
    {digits, stop} = digits(look, current(look) == :array, [])

    if alpha?(at(stop)) do
      :text
    else
      case digits do
        [last | rest] when last in [?-, ?+, ?e, ?E, ?/, ?,] -> {rest |> Enum.reverse() |> read(), move(stop, -1)}
        digits -> {digits |> Enum.reverse() |> read(), stop}
      end
    end
  end

  defp digits(look, array?, done) do
    char = at(look)

    cond do
      array? and char == ?, -> {done, look}
      char == ?_ -> look |> move() |> digits(array?, done)
      char in @number -> look |> move() |> digits(array?, [char | done])
      char == ?+ and match?([e | _rest] when e in [?e, ?E], done) -> look |> move() |> digits(array?, [char | done])
      true -> {done, look}
    end
  end

  defp read(digits) do
    text = List.to_string(digits)

    cond do
      String.contains?(text, ",") ->
        text

      String.contains?(text, [".", "e", "E"]) ->
        with {:ok, value} <- Python.float(text), do: value, else: (:error -> text)

      byte_size(text) < 4300 and text =~ ~r/\A-?\d+\z/ ->
        String.to_integer(text)

      true ->
        text
    end
  end
end
