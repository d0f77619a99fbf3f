defmodule DSPex.Demo.Table do
  @moduledoc "Plain text tables: columns as wide as their widest cell, numbers to the right."

  @type cell :: String.t() | number() | nil

  @doc """
  Renders a table as lines, the header first.

  ## Examples

      iex> DSPex.Demo.Table.render(["call", "ms"], [["first", 12], ["second", 7]])
      ["call    ms", "──────  ──", "first   12", "second   7"]

      iex> DSPex.Demo.Table.render(["a", "b"], [[nil, "ü"]])
      ["a  b", "─  ─", "–  ü"]
  """
  @spec render([String.t()], [[cell()]]) :: [String.t()]
  def render(header, rows) do
    texts = Enum.map(rows, fn row -> Enum.map(row, &text/1) end)
    widths = [header | texts] |> Enum.zip_with(& &1) |> Enum.map(&widest/1)
    numeric = rows |> Enum.zip_with(& &1) |> Enum.map(fn column -> Enum.any?(column, &is_number/1) end)
    numeric = if numeric == [], do: Enum.map(header, fn _ -> false end), else: numeric
    rule = Enum.map(widths, &String.duplicate("─", &1))
    Enum.map([header, rule | texts], &line(&1, widths, numeric))
  end

  defp line(cells, widths, numeric) do
    [cells, widths, numeric]
    |> Enum.zip_with(fn
      [cell, width, true] -> String.pad_leading(cell, width)
      [cell, width, false] -> String.pad_trailing(cell, width)
    end)
    |> Enum.join("  ")
    |> String.trim_trailing()
  end

  defp widest(column), do: column |> Enum.map(&String.length/1) |> Enum.max()

  defp text(nil), do: "–"
  defp text(value) when is_float(value), do: :erlang.float_to_binary(value, decimals: 1)
  defp text(value), do: to_string(value)
end
