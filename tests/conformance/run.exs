# Runs a corpus file against the Elixir implementation:
#
#     mix run tests/conformance/run.exs KIND FILE [--show N]
#
# A kind is a file in tests/conformance/kinds/ that defines `DSPex.Conformance.<Kind>` with one function,
# `checks(document)`: the checks in order, each `{id, function}`, whose function gives `:ok`, `{:error, text}` or
# `{:handed_over, text}`. The document comes with `DSPex.Ordered` for objects. The last line is `N passed, N failed`, with
# `, N handed over` where Python has to answer; the exit status is 1 when a check failed, 2 when the command is wrong.

defmodule DSPex.Conformance.Runner do
  @kinds Path.join(__DIR__, "kinds")

  def main(arguments) do
    case OptionParser.parse(arguments, strict: [show: :integer]) do
      {options, [kind, file], []} -> kind |> checks(file) |> run() |> report(options[:show] || 0)
      _other -> usage("usage: mix run tests/conformance/run.exs KIND FILE [--show N]")
    end
  end

  defp checks(kind, file) do
    path = Path.join(@kinds, "#{kind}.exs")
    unless kind in kinds(), do: usage("no such kind: #{kind}; there are #{Enum.join(kinds(), ", ")}")
    unless File.regular?(file), do: usage("no such file: #{file}")
    modules = for {module, _code} <- Code.require_file(path), do: module
    module = Enum.find(modules, &function_exported?(&1, :checks, 1))
    file |> File.read!() |> document() |> module.checks()
  end

  defp kinds, do: @kinds |> File.ls!() |> Enum.map(&Path.rootname/1) |> Enum.sort()

  # Tags have no meaning in a corpus: a schema may well have a member "$type".
  defp document(text) do
    case DSPex.Wire.Json.library().decode(text) do
      {:ok, raw} -> ordered(raw)
      {:error, problem} -> usage("the file is no JSON: #{problem}")
    end
  end

  defp ordered({pairs}), do: DSPex.Ordered.new(for {key, value} <- pairs, do: {key, ordered(value)})
  defp ordered(list) when is_list(list), do: Enum.map(list, &ordered/1)
  defp ordered(scalar), do: scalar

  defp run(checks), do: Enum.map(checks, fn {id, check} -> {id, outcome(check)} end)

  defp outcome(check) do
    check.()
  rescue
    error -> {:error, "raised " <> Exception.format(:error, error, __STACKTRACE__)}
  end

  defp report(results, show) do
    failures = for {id, {:error, problem}} <- results, do: {id, problem}
    for {id, problem} <- Enum.take(failures, show), do: IO.puts("#{id}\n    #{problem}")
    handed_over = Enum.count(results, &match?({_id, {:handed_over, _text}}, &1))
    passed = length(results) - length(failures) - handed_over

    IO.puts(
      "#{passed} passed, #{length(failures)} failed" <>
        if(handed_over > 0, do: ", #{handed_over} handed over", else: "")
    )

    if failures == [], do: 0, else: 1
  end

  defp usage(text) do
    IO.puts(:stderr, text)
    exit({:shutdown, 2})
  end
end

with status when status > 0 <- DSPex.Conformance.Runner.main(System.argv()), do: exit({:shutdown, status})
